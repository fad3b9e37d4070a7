"""The bundle: several backbones with their heads in one folder; load, verify, predict. No Ray in here."""

from radray.ensemble.bundle import Bundle, Member, Predictions

__all__ = ["Bundle", "Member", "Predictions"]
