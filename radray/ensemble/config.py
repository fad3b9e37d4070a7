"""Configuration of the export (imports no torch)."""

from __future__ import annotations

from dataclasses import dataclass

from radray import storage
from radray.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write a bundle as one program that runs without radray (torch.export): bundle → a .pt2 file."""

    bundle: str
    """URL of the bundle folder, as written by jobs/probe.py."""
    output: str
    """URL of the folder that gets bundle.pt2 and export.json."""

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: The bundle is not there, or the output cannot be written or lies in the bundle.
        """
        storage.check_input(storage.join(self.bundle, "bundle.json"), "--bundle")
        if f"{storage.normalise_url(self.output)}/".startswith(f"{storage.normalise_url(self.bundle)}/"):
            raise ConfigError(
                f"--output {self.output} lies inside --bundle, which holds no programs; choose another folder"
            )
        storage.check_output(self.output, "--output")
