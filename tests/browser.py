"""Pages as a real browser sees them."""

import subprocess
from pathlib import Path


def dom(page: str, profile: Path) -> str:
    """A page's document, after its scripts have run, by headless Chromium."""
    quiet = "background-networking component-update sync quic gpu".split()  # noqa: SIM905
    command = ["chromium", "--headless", "--no-sandbox", "--no-first-run", "--dump-dom"]
    command += [f"--disable-{name}" for name in quiet] + ["--virtual-time-budget=20000"]
    done = subprocess.run(
        [*command, f"--user-data-dir={profile}", page], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
