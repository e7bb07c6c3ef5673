#!/usr/bin/env bash
# All that is to be measured on a GPU:    benchmarks/gpu.sh    again until it says that all is done
#
# In a project whose tiers are cut (PROJECT, this folder by default), without network; docs/gpu.md
# says what to bring. A call ends after LIMIT seconds, nine minutes by default. What a piece prints
# is in $OUT/<piece>.txt as it comes, its errors and bars in <piece>.log. The project remembers what
# is finished, and a training goes on from its checkpoint. DRY=--dry tries all of it on tiny models.
set -u
code=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$code/src:$code/tests:$code${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1
out=$(realpath -m "${OUT:-gpu}")
mkdir -p "$out"
cd "${PROJECT:-$code}" || exit
export WINNOW_DATA=${WINNOW_DATA:-data}
finished=.winnow/gpu
mkdir -p $finished

piece() {  # name, command ...: 75 where there is no time left
    local name=$1 left=$((${LIMIT:-540} - SECONDS)) ended
    shift
    [ -e "$finished/$name" ] && return
    if [ $left -gt 30 ]; then
        echo "== $name: $*"
        timeout -k 20 $left "$@" 2>>"$out/$name.log" | tee -a "$out/$name.txt"
        ended=${PIPESTATUS[0]}
        [ "$ended" -eq 0 ] && touch "$finished/$name" && return
        [ "$ended" -ne 124 ] && [ "$ended" -ne 137 ] && failed+=" $name" && return
    fi
    echo "$name is not done: call again"
    exit 75
}

failed=
piece machine python -c "import platform, torch, transformers, winnow.models.device as device
print(platform.python_version(), torch.__version__, transformers.__version__, device.environment())"
piece checks python -m attention_cases
# 500M in 20 GB, 1B in 35; MFU is 6N + 12LdT over the dense bf16 peak.
for model in ${MODELS:-500M:20 1B:35}; do
    piece "trials-${model%:*}" python -m benchmarks.train ${DRY:-} --trials \
        --models "${model%:*}" --limits "${model#*:}"
done
piece generate python -m benchmarks.generate ${DRY:-}
piece resume python -m benchmarks.resume "${KILLED:-ultra_10k_50M_tune_300_steps}"
for experiment in ${EXPERIMENTS:-ultra_10k_500M high_100k_500M random_100k_500M}; do
    piece "train-$experiment" python -m winnow train "$experiment" --seed 0 --init scratch
    piece "evaluate-$experiment" python -m winnow evaluate "$experiment" --seed 0
    find {models,results}/"$experiment"/0 -name '*.json' -exec cp --parents {} "$out" \;
done
[ -z "$failed" ] && echo "all is done" && exit
echo "failed, see their .log:$failed"
exit 1
