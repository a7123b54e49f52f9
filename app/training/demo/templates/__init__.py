"""What recruiters write, in our own words: tables of sentences and of job families."""


def lines(block: str) -> tuple[str, ...]:
    """Return the lines of a block which are not empty."""
    return tuple(line.strip() for line in block.splitlines() if line.strip())
