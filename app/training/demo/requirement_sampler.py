"""What an ad asks for: the situation it advertises, the level it states, and its label."""

import random
from collections.abc import Mapping

from app.training.demo.ad_context import AdContext
from app.training.demo.occupations import JobTitle
from app.training.demo.templates import requirements, situations

STATED_SHARE = 0.8
"""How many ads name a requirement at all."""

ASKED: Mapping[str, Mapping[str, float]] = {
    "none": {"none": 0.84, "vocational": 0.15, "advanced": 0.01},
    "vocational": {"none": 0.10, "vocational": 0.80, "advanced": 0.10},
    "advanced": {"none": 0.02, "vocational": 0.25, "advanced": 0.66, "master": 0.07},
    "master": {"vocational": 0.08, "advanced": 0.54, "master": 0.38},
}
"""How often an ad asks for a level, by the usual level of its occupation."""

LICENSED = frozenset({"doctors", "law", "therapy_pharmacy", "teaching_research"})
"""Where the law or long custom ties the highest level to a degree."""


class RequirementSampler:
    """Draws what ads ask for; the label is what their words say, else the occupation's level."""

    def __init__(self, rng: random.Random, stated_share: float = STATED_SHARE) -> None:
        self.rng = rng
        self.stated_share = stated_share

    def situation(self, job: JobTitle) -> str:
        """Draw whether the position is a regular one, and if not, what it is."""
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

    def requirement(self, scene: AdContext, situation: str) -> tuple[list[str], str]:
        """Return the sentences which ask for a level, and that level; none means unstated."""
        rng, job = self.rng, scene.job
        if situation == "apprentice":
            return scene.pick(requirements.APPRENTICE, rng.randint(0, 2)), "none"
        if situation == "student":
            return scene.pick(requirements.STUDENT), "none"
        if situation == "helper":
            return scene.pick(requirements.HELPER, rng.randint(0, 1)), "none"
        if situation == "graduate":
            # Who is trained on for the bar, a doctorate or a clinic has the full degree already.
            level = "master" if job.category in LICENSED else rng.choice(("advanced", "master"))
            return scene.pick(requirements.GRADUATE[level]), level
        if rng.random() > self.stated_share:
            return [], job.level
        level = self._asked_level(job)
        if level == "none" and job.level in ("none", "vocational") and rng.random() < 0.3:
            return scene.pick(requirements.WELCOME_TRAINING), "none"
        asked = self._stated(scene, level)
        if level not in ("none", "master") and rng.random() < 0.2:
            asked += scene.pick(requirements.WELCOME)
        return asked, level

    def _asked_level(self, job: JobTitle) -> str:
        odds = ASKED[job.level]
        if job.category in LICENSED and job.level == "master":
            # Nobody treats patients without the full degree.
            exception = 0.0 if job.category == "doctors" else 0.05
            odds = {"advanced": exception, "master": 1 - exception}
        return self.rng.choices(tuple(odds), tuple(odds.values()))[0]

    def _stated(self, scene: AdContext, level: str) -> list[str]:
        special = requirements.SPECIAL.get((scene.job.category, level), ())
        if special and self.rng.random() < 0.5:
            return scene.pick(special)
        local = requirements.STATED.get((level, scene.country), ())
        common = requirements.STATED[level, requirements.ANY]
        pool = local if local and self.rng.random() < 0.5 else common
        return scene.pick(pool) or scene.pick(common)

    def special_title(self, scene: AdContext, situation: str) -> str | None:
        """Say in the title what the situation is: an apprenticeship, a student's job."""
        own = situations.OWN.get((scene.job.category, situation), ())
        common = situations.TITLES.get(situation, ())
        for pool in (own if self.rng.random() < 0.6 else (), common):
            if found := scene.pick(pool):
                return found[0]
        return None
