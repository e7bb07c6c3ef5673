"""One GPT-2, fresh from its seed, per experiment and seed; by the recipe of its tier."""
