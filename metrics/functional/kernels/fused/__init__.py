"""The box engine as one Triton program a map; ``fused_curves`` may be imported where ``why_not_fused`` is None."""

from .whether import room_of_program, why_not_fused

__all__ = ["room_of_program", "why_not_fused"]
