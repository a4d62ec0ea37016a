"""Checks a live Redis, explains what is wrong with it, and puts right what can be.

    async with Doctor("redis://localhost:6379/0") as doctor:
        diagnosis = await doctor.examine(fix=True)

On the command line: `asyncq doctor`.
"""

from .acl import Role, rule
from .doctor import Diagnosis, Doctor, OnProgress
from .finding import Finding, Severity

__all__ = ["Diagnosis", "Doctor", "Finding", "OnProgress", "Role", "Severity", "rule"]
