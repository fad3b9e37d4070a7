"""Configuration of the comparison of two bundles' predictions (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass

from radray import storage
from radray.errors import ConfigError
from radray.score.versions import latest_predictions


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What another bundle says of the same archive: two sets of predictions → changes."""

    before: str
    """URL of the earlier predictions: one version's folder, or a folder of versions, whose newest is taken."""
    after: str
    """URL of the later predictions, likewise."""
    output: str
    """URL of the folder that gets changes.parquet and the summary."""

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: No predictions are there, both are the same, or the output cannot be written.
        """
        folders = []
        for option, url in (("--before", self.before), ("--after", self.after)):
            storage.check_input(url, option)
            try:
                folders.append(latest_predictions(url))
            except ConfigError as error:
                raise ConfigError(f"{option} {error}") from None
        if folders[0] == folders[1]:
            raise ConfigError(f"--before and --after are the same predictions, {folders[0]}; give one version=… folder")
        for folder in folders:
            if storage.normalise_url(self.output) == folder:
                raise ConfigError(f"--output {self.output} holds predictions; choose another folder")
        storage.check_output(self.output, "--output")
