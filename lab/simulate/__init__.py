"""The engine's scheduling in virtual time: a build of very many images on many GPUs, and where the rest goes.

The recipe's own graph (segments, barriers, streams), the preset's own pools and the plan's own seconds are simulated,
so a change in any of them changes the result. See docs/scale.md.
"""
