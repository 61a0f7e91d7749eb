"""Geometry with figures: problems and their drawings, vision-language SFT and RL."""
