"""Composes job ads from titles, tasks and templates, with the labels that their words earn."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.training.demo import german_phrasing as wording
from app.training.demo.ad_context import AdContext, SceneMaker
from app.training.demo.job_families import Family
from app.training.demo.occupations import Catalog, JobTitle, by_prefix
from app.training.demo.requirement_sampler import RequirementSampler
from app.training.demo.templates import sections


@dataclass(frozen=True, slots=True)
class Mix:
    """The shares of the row kinds; what is left over are composed ads."""

    title: float = 0.08
    line: float = 0.10
    description: float = 0.10
    long: float = 0.5
    """The share of the composed ads which have every section."""


@dataclass(frozen=True, slots=True)
class Row:
    """One training row; `group` is the occupation, so that a split keeps it together."""

    title: str
    text: str
    job_category: str
    min_education: str
    group: str
    kind: str


class AdWriter:
    """Writes rows for job titles; the same generator state gives the same rows."""

    def __init__(
        self, catalog: Catalog, families: Mapping[str, Family], rng: random.Random, mix: Mix
    ) -> None:
        self.catalog = catalog
        self.rng = rng
        self.mix = mix
        self.scenes = SceneMaker(catalog, families, rng)
        self.asker = RequirementSampler(rng)

    def write(self, job: JobTitle) -> Row:
        """Write one row of a kind drawn from the mix."""
        rng, mix = self.rng, self.mix
        draw = rng.random()
        if draw < mix.title:
            return self._plain_title(job)
        if draw < mix.title + mix.line:
            return self._one_line(job)
        if draw < mix.title + mix.line + mix.description:
            return self._description(job)
        return self.compose(job, long=rng.random() < mix.long)

    def compose(self, job: JobTitle, *, long: bool) -> Row:
        """Write an ad; its education label is what its own words ask for."""
        scene = self.scenes.scene(job)
        situation = self.asker.situation(job)
        asked, label = self.asker.requirement(scene, situation)
        title = self._situated(scene, situation)
        parts = self._parts(scene, title, asked, situation, long=long)
        shown = self.rng.random() < 0.6
        text = "\n".join(part for part in parts if part)
        text = wording.with_noise(scene.spelled(wording.gendered(text, self.rng)), self.rng)
        return Row(
            scene.spelled(title) if shown else "",
            text,
            job.category,
            label,
            job.code,
            "long" if long else "short",
        )

    def _row(self, job: JobTitle, title: str, text: str, label: str, kind: str) -> Row:
        return Row(title, text, job.category, label, job.code, kind)

    def _plain_title(self, job: JobTitle) -> Row:
        scene = self.scenes.scene(job)
        text = scene.spelled(scene.title)
        title = text if self.rng.random() < 0.3 else ""
        return self._row(job, title, text, job.level, "title")

    def _one_line(self, job: JobTitle) -> Row:
        """Write the title with one sentence of tasks or of the requirement."""
        scene = self.scenes.scene(job)
        situation = "regular" if self.rng.random() < 0.8 else self.asker.situation(job)
        title, label, more = self._situated(scene, situation), job.level, ""
        if situation != "regular" or self.rng.random() < 0.5:
            asked, label = self.asker.requirement(scene, situation)
            more = ". ".join(asked[:1])
        else:
            more = ", ".join(self._tasks(scene, 2))
        opening = scene.fill(self.rng.choice(sections.SEEKING)) or ""
        text = f"{opening} {title}. {more}" if self.rng.random() < 0.5 else f"{title}. {more}"
        text = scene.spelled(text.strip())
        shown = scene.spelled(title) if self.rng.random() < 0.4 else ""
        return self._row(job, shown, text, label, "line")

    def _description(self, job: JobTitle) -> Row:
        described = job.description or by_prefix(self.catalog.descriptions, job.code, 4) or ""
        scene = self.scenes.scene(job)
        text = scene.spelled(described or scene.title)
        if self.rng.random() < 0.5:
            text = f"{scene.spelled(scene.title)}\n{text}"
        shown = scene.spelled(scene.title) if self.rng.random() < 0.6 else ""
        return self._row(job, shown, text, job.level, "description")

    def _situated(self, scene: AdContext, situation: str) -> str:
        return self.asker.special_title(scene, situation) or self._decorated(scene)

    def _decorated(self, scene: AdContext) -> str:
        rng, title = self.rng, scene.title
        if rng.random() < 0.22:
            low = rng.choice((40, 50, 60, 70, 80))
            share = rng.choice((f"{low} - 100 %", f"{low}-100%", f"{low}%", "100%", "80 – 100 %"))
            title += rng.choice((" ", ", ", " (")) + share
            title += ")" if title.count("(") > title.count(")") else ""
        elif rng.random() < 0.12:
            title += rng.choice((" in Teilzeit", " in Vollzeit", " - unbefristet", " gesucht"))
        if rng.random() < 0.06:
            title += f" in {scene.slots['place'][0]}"
        return title

    def _parts(
        self, scene: AdContext, title: str, asked: list[str], situation: str, *, long: bool
    ) -> list[str]:
        """Put the sections in order, some of them missing."""
        rng = self.rng
        opening = self._opening(scene, title, long=long)
        tasks = self._section(sections.TASK_HEADS, self._tasks(scene, rng.randint(3, 8)))
        profile = self._section(sections.PROFILE_HEADS, self._profile(scene, asked, long=long))
        offers = list(sections.BENEFITS)
        benefits = scene.pick(offers, rng.randint(2, 6))
        if rng.random() < 0.45:
            benefits += scene.pick(sections.EDUCATION_OFFERS)
            rng.shuffle(benefits)
        offer = self._section(sections.OFFER_HEADS, benefits)
        contact = " ".join(scene.pick(sections.CONTACT, rng.randint(1, 4)))
        if not long:
            keep = rng.random()
            tasks = tasks if keep > 0.12 or not asked else ""
            offer = offer if rng.random() < 0.25 else ""
            contact = contact if rng.random() < 0.4 else ""
            opening = opening if rng.random() < 0.7 or not tasks else ""
        order = [opening, tasks, profile, offer, contact]
        if rng.random() < 0.08:
            order = [opening, offer, tasks, profile, contact]
        elif rng.random() < 0.06:
            order = [opening, profile, tasks, offer, contact]
        if situation in ("apprentice", "helper") and not opening:
            order.insert(0, title)  # Only the title says what this is.
        return order

    def _opening(self, scene: AdContext, title: str, *, long: bool) -> str:
        rng = self.rng
        parts: list[str] = []
        if long or rng.random() < 0.4:
            kind = rng.choice(
                (*sections.EMPLOYERS, "hospital", "university")
            )  # they speak of degrees
            parts += scene.pick(sections.EMPLOYERS[kind], 2 if long else 1)
            if rng.random() < 0.4:
                parts += scene.pick(sections.PRAISE)
            if rng.random() < 0.2:
                parts += scene.pick(sections.COLLEAGUES)
        if rng.random() < 0.75:
            parts += scene.pick(sections.SEEKING)
            parts.append(title)
        elif rng.random() < 0.5:
            parts.insert(0, title)
        text = rng.choice((" ", "\n")).join(parts)
        if len(text) > 150 and rng.random() < 0.12:
            text = text[rng.randrange(20, 100) :]  # Samples of ads begin in mid-sentence.
        return text

    def _tasks(self, scene: AdContext, count: int) -> list[str]:
        rng, job = self.rng, scene.job
        own = list(scene.family.tasks)
        listed = by_prefix(self.catalog.tasks, job.code, 4) or ()
        style = rng.choice(("plain", "plain", "plain", "sie", "sie", "noun", "noun", "du"))
        found = [wording.task_line(phrase, style) for phrase in listed]
        told = re.split(r"(?<=[.!?]) ", job.description) if job.description else []
        found += [sentence for sentence in told[1:] if sentence.startswith("Sie ")]
        if own:
            share = count if not found else max(1, round(count * rng.uniform(0.4, 1)))
            chosen = rng.sample(own, min(share, len(own)))
            chosen += rng.sample(found, min(max(0, count - len(chosen)), len(found)))
        else:
            chosen = rng.sample(found, min(count, len(found)))
        rng.shuffle(chosen)
        return chosen

    def _profile(self, scene: AdContext, asked: list[str], *, long: bool) -> list[str]:
        rng = self.rng
        most = 3 if long else 2
        rest = scene.pick(sections.EXPERIENCE, rng.randint(0, 2))
        rest += scene.pick(sections.PERSON, rng.randint(1, most))
        rest += scene.pick(sections.SKILLS, rng.randint(0, 2))
        if scene.family.skills and rng.random() < 0.6:
            rest += [f"Kenntnisse in {rng.choice(scene.family.skills)}"]
        if rng.random() < 0.25:
            rng.shuffle(rest)
            return [*rest[:1], *asked, *rest[1:]]
        return [*asked, *rest]

    def _section(self, heads: Sequence[str], items: Sequence[str]) -> str:
        if not items:
            return ""
        body = wording.bulleted(items, self.rng)
        return f"{self.rng.choice(heads)}\n{body}" if self.rng.random() < 0.72 else body
