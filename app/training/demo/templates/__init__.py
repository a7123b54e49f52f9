"""The sentences of the generated ads, and the tables of job families."""


def lines(block: str) -> tuple[str, ...]:
    """Return the lines of a block that are not empty."""
    return tuple(line.strip() for line in block.splitlines() if line.strip())
