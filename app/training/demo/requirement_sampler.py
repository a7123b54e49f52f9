"""Draws the education that a generated ad asks for: the sentences and the label."""

import random
from collections.abc import Mapping

from app.training.demo.ad_context import AdContext
from app.training.demo.occupations import JobTitle
from app.training.demo.templates import category_requirements, requirements, situations

STATED_SHARE = 0.8
"""Share of the ads that state a requirement."""

REQUIRED_LEVELS: Mapping[str, Mapping[str, float]] = {
    "none": {"none": 0.84, "vocational": 0.15, "advanced": 0.01},
    "vocational": {"none": 0.10, "vocational": 0.80, "advanced": 0.10},
    "advanced": {"none": 0.02, "vocational": 0.25, "advanced": 0.66, "master": 0.07},
    "master": {"vocational": 0.08, "advanced": 0.54, "master": 0.38},
}
"""By the usual level of an occupation, how often ads ask for each level."""

LICENSED = frozenset({"doctors", "law", "therapy_pharmacy", "teaching_research"})
"""Categories in which the law or custom requires a degree for the highest level."""


class RequirementSampler:
    """Draws requirements; the label is what the sentences ask for, else the occupation's level."""

    def __init__(self, rng: random.Random, stated_share: float = STATED_SHARE) -> None:
        self.rng = rng
        self.stated_share = stated_share

    def situation(self, job: JobTitle) -> str:
        """Draw the kind of position: regular, apprentice, graduate, student or helper."""
        draw = self.rng.random()
        if job.level == "vocational" and draw < 0.08:
            return "apprentice"
        if job.level in ("advanced", "master") and draw < 0.04:
            return "graduate"
        if 0.08 <= draw < 0.15:
            return "student" if job.level in ("advanced", "master") else "helper"
        if 0.15 <= draw < 0.16:
            return "student"
        return "regular"

    def requirement(self, context: AdContext, situation: str) -> tuple[list[str], str]:
        """Return sentences that ask for a level, and the label; no sentences if none is stated."""
        rng, job = self.rng, context.job
        if situation == "apprentice":
            return context.pick(requirements.APPRENTICE, rng.randint(0, 2)), "none"
        if situation == "student":
            return context.pick(requirements.STUDENT), "none"
        if situation == "helper":
            return context.pick(requirements.HELPER, rng.randint(0, 1)), "none"
        if situation == "graduate":
            # Trainees in law, research and hospitals have their full degree already.
            level = "master" if job.category in LICENSED else rng.choice(("advanced", "master"))
            return context.pick(requirements.GRADUATE[level]), level
        if rng.random() > self.stated_share:
            return [], job.level
        level = self._required_level(job)
        if level == "none" and job.level in ("none", "vocational") and rng.random() < 0.3:
            return context.pick(requirements.WELCOME_TRAINING), "none"
        sentences = self._stated(context, level)
        if level not in ("none", "master") and rng.random() < 0.2:
            sentences += context.pick(requirements.WELCOME)
        return sentences, level

    def _required_level(self, job: JobTitle) -> str:
        odds = REQUIRED_LEVELS[job.level]
        if job.category in LICENSED and job.level == "master":
            # Doctors always need the full degree.
            exception = 0.0 if job.category == "doctors" else 0.05
            odds = {"advanced": exception, "master": 1 - exception}
        return self.rng.choices(tuple(odds), tuple(odds.values()))[0]

    def _stated(self, context: AdContext, level: str) -> list[str]:
        special = category_requirements.STATED_BY_CATEGORY.get((context.job.category, level), ())
        if special and self.rng.random() < 0.5:
            return context.pick(special)
        local = requirements.STATED.get((level, context.country), ())
        common = requirements.STATED[level, requirements.ANY]
        pool = local if local and self.rng.random() < 0.5 else common
        return context.pick(pool) or context.pick(common)

    def special_title(self, context: AdContext, situation: str) -> str | None:
        """Return a title that names the situation, such as an apprenticeship; None if regular."""
        own = situations.TITLES_BY_CATEGORY.get((context.job.category, situation), ())
        common = situations.TITLES.get(situation, ())
        for pool in (own if self.rng.random() < 0.6 else (), common):
            if titles := context.pick(pool):
                return titles[0]
        return None
