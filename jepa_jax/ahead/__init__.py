"""Compilation for devices that this machine does not have: memory, traffic and arithmetic of a program."""

from jepa_jax.ahead.dry_run import check_ahead, conclude
from jepa_jax.ahead.requirements import CompilerError, Requirements, in_bytes, requirements, show
from jepa_jax.ahead.targets import Target, find_target, open_target, present_target

__all__ = [
    "CompilerError",
    "Requirements",
    "Target",
    "check_ahead",
    "conclude",
    "find_target",
    "in_bytes",
    "open_target",
    "present_target",
    "requirements",
    "show",
]
