"""Generates labelled job ads from occupation titles, task phrases and sentence templates."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.training.demo import german_phrasing
from app.training.demo.ad_context import AdContext, AdContextSampler
from app.training.demo.job_families import JobFamily
from app.training.demo.occupations import Catalog, JobTitle, by_prefix
from app.training.demo.requirement_sampler import RequirementSampler
from app.training.demo.templates import employers, sections


@dataclass(frozen=True, slots=True)
class KindShares:
    """The shares of the kinds of rows; the rest are composed ads."""

    title: float = 0.08
    line: float = 0.10
    description: float = 0.10
    long: float = 0.5
    """Share of the composed ads that have every section."""


@dataclass(frozen=True, slots=True)
class GeneratedRow:
    """A training row; `group` is the occupation, which a split does not divide."""

    title: str
    text: str
    job_category: str
    min_education: str
    group: str
    kind: str


class AdGenerator:
    """Generates rows for job titles; the same state of `rng` gives the same rows."""

    def __init__(
        self,
        catalog: Catalog,
        families: Mapping[str, JobFamily],
        rng: random.Random,
        shares: KindShares,
    ) -> None:
        self.catalog = catalog
        self.rng = rng
        self.shares = shares
        self.contexts = AdContextSampler(catalog, families, rng)
        self.requirements = RequirementSampler(rng)

    def generate(self, job: JobTitle) -> GeneratedRow:
        """Generate a row of a random kind."""
        rng, shares = self.rng, self.shares
        draw = rng.random()
        if draw < shares.title:
            return self._plain_title(job)
        if draw < shares.title + shares.line:
            return self._one_line(job)
        if draw < shares.title + shares.line + shares.description:
            return self._description(job)
        return self.compose(job, long=rng.random() < shares.long)

    def compose(self, job: JobTitle, *, long: bool) -> GeneratedRow:
        """Generate an ad; its education label is what its own sentences ask for."""
        context = self.contexts.sample(job)
        situation = self.requirements.situation(job)
        requirement, label = self.requirements.requirement(context, situation)
        title = self._title(context, situation)
        parts = self._parts(context, title, requirement, situation, long=long)
        shows_title = self.rng.random() < 0.6
        text = "\n".join(part for part in parts if part)
        text = german_phrasing.with_noise(
            context.spell(german_phrasing.gendered(text, self.rng)), self.rng
        )
        return GeneratedRow(
            context.spell(title) if shows_title else "",
            text,
            job.category,
            label,
            job.code,
            "long" if long else "short",
        )

    def _row(self, job: JobTitle, title: str, text: str, label: str, kind: str) -> GeneratedRow:
        return GeneratedRow(title, text, job.category, label, job.code, kind)

    def _plain_title(self, job: JobTitle) -> GeneratedRow:
        context = self.contexts.sample(job)
        text = context.spell(context.title)
        title = text if self.rng.random() < 0.3 else ""
        return self._row(job, title, text, job.level, "title")

    def _one_line(self, job: JobTitle) -> GeneratedRow:
        """Generate a title with one sentence: two tasks or a requirement."""
        context = self.contexts.sample(job)
        situation = "regular" if self.rng.random() < 0.8 else self.requirements.situation(job)
        title, label, more = self._title(context, situation), job.level, ""
        if situation != "regular" or self.rng.random() < 0.5:
            requirement, label = self.requirements.requirement(context, situation)
            more = ". ".join(requirement[:1])
        else:
            more = ", ".join(self._tasks(context, 2))
        opening = context.fill(self.rng.choice(sections.SEEKING)) or ""
        text = f"{opening} {title}. {more}" if self.rng.random() < 0.5 else f"{title}. {more}"
        text = context.spell(text.strip())
        shown = context.spell(title) if self.rng.random() < 0.4 else ""
        return self._row(job, shown, text, label, "line")

    def _description(self, job: JobTitle) -> GeneratedRow:
        described = job.description or by_prefix(self.catalog.descriptions, job.code, 4) or ""
        context = self.contexts.sample(job)
        text = context.spell(described or context.title)
        if self.rng.random() < 0.5:
            text = f"{context.spell(context.title)}\n{text}"
        shown = context.spell(context.title) if self.rng.random() < 0.6 else ""
        return self._row(job, shown, text, job.level, "description")

    def _title(self, context: AdContext, situation: str) -> str:
        return self.requirements.special_title(context, situation) or self._regular_title(context)

    def _regular_title(self, context: AdContext) -> str:
        rng, title = self.rng, context.title
        if rng.random() < 0.22:
            low = rng.choice((40, 50, 60, 70, 80))
            share = rng.choice((f"{low} - 100 %", f"{low}-100%", f"{low}%", "100%", "80 – 100 %"))
            title += rng.choice((" ", ", ", " (")) + share
            title += ")" if title.count("(") > title.count(")") else ""
        elif rng.random() < 0.12:
            title += rng.choice((" in Teilzeit", " in Vollzeit", " - unbefristet", " gesucht"))
        if rng.random() < 0.06:
            title += f" in {context.slots['place'][0]}"
        return title

    def _parts(
        self, context: AdContext, title: str, requirement: list[str], situation: str, *, long: bool
    ) -> list[str]:
        """Return the sections in order; a short ad lacks some of them."""
        rng = self.rng
        opening = self._opening(context, title, long=long)
        tasks = self._section(sections.TASK_HEADINGS, self._tasks(context, rng.randint(3, 8)))
        profile = self._section(
            sections.PROFILE_HEADINGS, self._profile(context, requirement, long=long)
        )
        offers = list(sections.BENEFITS)
        benefits = context.pick(offers, rng.randint(2, 6))
        if rng.random() < 0.45:
            benefits += context.pick(sections.EDUCATION_OFFERS)
            rng.shuffle(benefits)
        offer = self._section(sections.OFFER_HEADINGS, benefits)
        contact = " ".join(context.pick(sections.CONTACT, rng.randint(1, 4)))
        if not long:
            keep = rng.random()
            tasks = tasks if keep > 0.12 or not requirement else ""
            offer = offer if rng.random() < 0.25 else ""
            contact = contact if rng.random() < 0.4 else ""
            opening = opening if rng.random() < 0.7 or not tasks else ""
        order = [opening, tasks, profile, offer, contact]
        if rng.random() < 0.08:
            order = [opening, offer, tasks, profile, contact]
        elif rng.random() < 0.06:
            order = [opening, profile, tasks, offer, contact]
        if situation in ("apprentice", "helper") and not opening:
            order.insert(0, title)  # Only the title says that this is no regular position.
        return order

    def _opening(self, context: AdContext, title: str, *, long: bool) -> str:
        rng = self.rng
        parts: list[str] = []
        if long or rng.random() < 0.4:
            # Hospitals and universities twice, because they mention degrees they do not ask for.
            kind = rng.choice((*employers.INTRODUCTIONS, "hospital", "university"))
            parts += context.pick(employers.INTRODUCTIONS[kind], 2 if long else 1)
            if rng.random() < 0.4:
                parts += context.pick(employers.PRAISE)
            if rng.random() < 0.2:
                parts += context.pick(employers.COLLEAGUES)
        if rng.random() < 0.75:
            parts += context.pick(sections.SEEKING)
            parts.append(title)
        elif rng.random() < 0.5:
            parts.insert(0, title)
        text = rng.choice((" ", "\n")).join(parts)
        if len(text) > 150 and rng.random() < 0.12:
            text = text[rng.randrange(20, 100) :]  # Excerpts of real ads start in mid-sentence.
        return text

    def _tasks(self, context: AdContext, count: int) -> list[str]:
        rng, job = self.rng, context.job
        own = list(context.family.tasks)
        listed = by_prefix(self.catalog.tasks, job.code, 4) or ()
        style = rng.choice(("plain", "plain", "plain", "sie", "sie", "noun", "noun", "du"))
        phrases = [german_phrasing.task_line(phrase, style) for phrase in listed]
        described = re.split(r"(?<=[.!?]) ", job.description) if job.description else []
        phrases += [sentence for sentence in described[1:] if sentence.startswith("Sie ")]
        if own:
            share = count if not phrases else max(1, round(count * rng.uniform(0.4, 1)))
            chosen = rng.sample(own, min(share, len(own)))
            chosen += rng.sample(phrases, min(max(0, count - len(chosen)), len(phrases)))
        else:
            chosen = rng.sample(phrases, min(count, len(phrases)))
        rng.shuffle(chosen)
        return chosen

    def _profile(self, context: AdContext, requirement: list[str], *, long: bool) -> list[str]:
        rng = self.rng
        qualities = 3 if long else 2
        rest = context.pick(sections.EXPERIENCE, rng.randint(0, 2))
        rest += context.pick(sections.PERSONALITY, rng.randint(1, qualities))
        rest += context.pick(sections.SKILLS, rng.randint(0, 2))
        if context.family.skills and rng.random() < 0.6:
            rest += [f"Kenntnisse in {rng.choice(context.family.skills)}"]
        if rng.random() < 0.25:
            rng.shuffle(rest)
            return [*rest[:1], *requirement, *rest[1:]]
        return [*requirement, *rest]

    def _section(self, headings: Sequence[str], items: Sequence[str]) -> str:
        if not items:
            return ""
        body = german_phrasing.bulleted(items, self.rng)
        return f"{self.rng.choice(headings)}\n{body}" if self.rng.random() < 0.72 else body
