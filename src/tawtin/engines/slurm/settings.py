"""What an operator can set about a Slurm engine."""

from __future__ import annotations

from tawtin.engines.shared.settings import ClusterSettings


class SlurmSettings(ClusterSettings, frozen=True, kw_only=True):
    """Settings of a Slurm engine."""

    conf: str = ""
    """Path of `slurm.conf`; empty for what Slurm's own programs find."""
    programs: str = ""
    """Folder of `sbatch` and the others; empty for the PATH."""
    partitions: tuple[str, ...] = ()
    """Partitions that may be used, the first preferred; empty for all that are up, the default one first."""
    account: str = ""
    """The account that jobs are charged to; empty for the user's default."""
    qos: str = ""
    """The quality of service that jobs ask for; empty for the default."""
    options: tuple[str, ...] = ()
    """Further options of `sbatch` for every job, such as `--reservation=tawtin`."""
