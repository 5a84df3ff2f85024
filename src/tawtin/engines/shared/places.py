"""Names of what every run has in its folder. The standard library alone, as supervisors import it."""

from __future__ import annotations

from typing import Final

ORDER: Final = "order.json"
"""What a report needs of the order, without secrets. A supervisor holds its lock as long as it lives."""
RESULT: Final = "result.json"
"""What collecting its outputs came to."""
SCRIPTS: Final = "scripts"
FILES: Final = "files"
"""What the tenant can write: home, work, tmp."""
