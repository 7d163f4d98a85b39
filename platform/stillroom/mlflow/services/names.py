"""Names for runs that were given none."""

from __future__ import annotations

import secrets

QUALITIES = (
    "amber", "brisk", "calm", "clear", "copper", "crisp", "dry", "even", "fine", "fresh", "gentle", "golden", "keen",
    "light", "lucid", "mellow", "mild", "neat", "noble", "pale", "patient", "plain", "pure", "quiet", "rare", "rich",
    "round", "slow", "smooth", "steady", "subtle", "warm",
)  # fmt: skip
THINGS = (
    "alder", "anise", "barley", "birch", "cask", "cedar", "clove", "copse", "cork", "dram", "ember", "fennel", "flask",
    "ginger", "grain", "hazel", "helm", "juniper", "kettle", "larch", "malt", "mash", "nutmeg", "oak", "peat", "retort",
    "rye", "sage", "sloe", "still", "thyme", "vine",
)  # fmt: skip


def random_name() -> str:
    """Such as `mellow-juniper-417`."""
    return f"{secrets.choice(QUALITIES)}-{secrets.choice(THINGS)}-{secrets.randbelow(900) + 100}"
