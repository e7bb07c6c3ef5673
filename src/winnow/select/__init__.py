"""Quality tiers and their controls, as Hugging Face datasets with a shared validation split."""
