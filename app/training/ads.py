"""Composes job ads from titles, tasks and templates, with the labels that their words earn."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.training import wording
from app.training.families import Family
from app.training.occupations import Catalog, JobTitle, by_prefix
from app.training.templates import requirements, sections, situations
from app.training.titles import Forms, write_title

SLOT = re.compile(r"\{(\w+)\}")
STATED_SHARE = 0.8
SWISS_SHARE = 0.6

ASKED: Mapping[str, Mapping[str, float]] = {
    "none": {"none": 0.84, "vocational": 0.15, "advanced": 0.01},
    "vocational": {"none": 0.10, "vocational": 0.80, "advanced": 0.10},
    "advanced": {"none": 0.02, "vocational": 0.25, "advanced": 0.66, "master": 0.07},
    "master": {"vocational": 0.08, "advanced": 0.54, "master": 0.38},
}
"""How often an ad asks for a level, by the usual level of its occupation."""

LICENSED = frozenset({"doctors", "law", "therapy_pharmacy", "teaching_research"})
"""Where the law or long custom ties the highest level to a degree."""

COMMERCIAL = frozenset(
    [
        "purchasing_sales_trade",
        "office_administration",
        "human_resources",
        "finance_accounting",
        "management_organisation",
        "marketing_media",
        "public_administration",
        "retail_sales",
        "hospitality_tourism",
        "logistics_warehouse",
    ]
)
TECHNICAL = frozenset(
    [
        "materials_processing",
        "metal_machinery",
        "electrical_mechatronics",
        "engineering_rd",
        "construction_planning",
        "construction_trades",
        "building_services",
        "information_technology",
        "agriculture_forestry",
        "food_production",
        "science_laboratory",
    ]
)
PUBLIC = frozenset(
    [
        "public_administration",
        "security_defence",
        "law",
        "office_administration",
        "human_resources",
        "building_services",
        "construction_planning",
        "finance_accounting",
    ]
)
DOMAINS = (
    (re.compile(r"aufmännisch|etriebswirt|Handelsschule|\bKV\b"), COMMERCIAL),
    (re.compile(r"technische|Techniker|Meister|Gesellen|Facharbeiter"), TECHNICAL),
    (re.compile(r"Dienst\b|Laufbahn|Verwaltung"), PUBLIC),
)


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


@dataclass(slots=True)
class _Scene:
    """What the sentences of one ad share."""

    job: JobTitle
    title: str
    country: str
    family: Family
    slots: dict[str, Sequence[str]]


class AdWriter:
    """Writes rows for job titles; the same generator state gives the same rows."""

    def __init__(
        self, catalog: Catalog, families: Mapping[str, Family], rng: random.Random, mix: Mix
    ) -> None:
        self.catalog = catalog
        self.families = families
        self.rng = rng
        self.mix = mix

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
        scene = self._scene(job)
        situation = self._situation(job)
        asked, label = self._requirement(scene, situation)
        title = self._situated(scene, situation)
        parts = self._parts(scene, title, asked, situation, long=long)
        shown = self.rng.random() < 0.6
        text = "\n".join(part for part in parts if part)
        text = wording.with_noise(self._spelled(wording.gendered(text, self.rng), scene), self.rng)
        return Row(
            self._spelled(title, scene) if shown else "",
            text,
            job.category,
            label,
            job.code,
            "long" if long else "short",
        )

    def _row(self, job: JobTitle, title: str, text: str, label: str, kind: str) -> Row:
        return Row(title, text, job.category, label, job.code, kind)

    def _plain_title(self, job: JobTitle) -> Row:
        scene = self._scene(job)
        text = self._spelled(scene.title, scene)
        title = text if self.rng.random() < 0.3 else ""
        return self._row(job, title, text, job.level, "title")

    def _one_line(self, job: JobTitle) -> Row:
        """Write the title with one sentence of tasks or of the requirement."""
        scene = self._scene(job)
        situation = "regular" if self.rng.random() < 0.8 else self._situation(job)
        title, label, more = self._situated(scene, situation), job.level, ""
        if situation != "regular" or self.rng.random() < 0.5:
            asked, label = self._requirement(scene, situation)
            more = ". ".join(asked[:1])
        else:
            more = ", ".join(self._tasks(scene, 2))
        opening = self._fill(self.rng.choice(sections.SEEKING), scene) or ""
        text = f"{opening} {title}. {more}" if self.rng.random() < 0.5 else f"{title}. {more}"
        text = self._spelled(text.strip(), scene)
        shown = self._spelled(title, scene) if self.rng.random() < 0.4 else ""
        return self._row(job, shown, text, label, "line")

    def _description(self, job: JobTitle) -> Row:
        described = job.description or by_prefix(self.catalog.descriptions, job.code, 4) or ""
        scene = self._scene(job)
        text = self._spelled(described or scene.title, scene)
        if self.rng.random() < 0.5:
            text = f"{self._spelled(scene.title, scene)}\n{text}"
        shown = self._spelled(scene.title, scene) if self.rng.random() < 0.6 else ""
        return self._row(job, shown, text, job.level, "description")

    def _scene(self, job: JobTitle) -> _Scene:
        rng = self.rng
        country = job.country or ("CH" if rng.random() < SWISS_SHARE else "DE")
        family = by_prefix(self.families, job.code, 2) or Family()
        places = sections.PLACES_CH if country == "CH" else sections.PLACES_DE
        tails = sections.COMPANY_TAILS_CH if country == "CH" else sections.COMPANY_TAILS_DE
        company = f"{rng.choice(sections.COMPANY_STEMS)} {rng.choice(tails)}".strip()
        slots = self._qualifications(job, family, country) | {
            "company": (company,),
            "place": (rng.choice(places),),
            "number": (str(rng.choice((120, 350, 600, 900, "1'800", 2500, "über 4000"))),),
            "small": (str(rng.randint(8, 95)),),
            "person": sections.NAMES,
            "name": (job.forms.masculine,),
            "colleague": tuple(rng.choice(self.catalog.titles).forms.masculine for _ in range(3)),
            "phone": (f"0{rng.randint(30, 99)} {rng.randint(100, 999)} {rng.randint(10, 99)} 00",),
            "mail": (f"bewerbung@{company.split()[0].lower()}.example",),
            "day": (str(rng.randint(1, 28)),),
            "month": sections.MONTHS,
        }
        forms = Forms(_spoken(job.forms.masculine, rng), _spoken(job.forms.feminine, rng))
        return _Scene(job, write_title(forms, rng), country, family, slots)

    def _qualifications(
        self, job: JobTitle, family: Family, country: str
    ) -> dict[str, Sequence[str]]:
        """Collect what can stand in the slots of a requirement; an empty pool rules them out."""
        trainings = (family.trainings_ch if country == "CH" else ()) or family.trainings
        if not trainings or self.rng.random() < 0.3:
            trainings = by_prefix(self.catalog.trainings, job.code, 3) or trainings
        if job.level == "vocational" and self.rng.random() < 0.3:
            trainings = (job.forms.masculine,)
        further = family.further or by_prefix(self.catalog.further, job.code, 3) or ()
        studies = family.studies
        if not studies or self.rng.random() < 0.25:
            studies = by_prefix(self.catalog.studies, job.code, 3) or studies
        names = dict(
            zip(
                self.catalog.taxonomy.categories.labels,
                self.catalog.taxonomy.categories.names["de"],
                strict=True,
            )
        )
        fields = family.fields or re.split(r", | und ", names[job.category])
        return {"training": trainings, "further": further, "study": studies, "field": fields}

    def _fill(self, sentence: str, scene: _Scene) -> str | None:
        """Fill the slots of a sentence, or return None where the occupation has no filling."""
        for slot in SLOT.findall(sentence):
            if not (pool := scene.slots.get(slot)):
                return None
            sentence = sentence.replace("{" + slot + "}", self.rng.choice(pool), 1)
        return sentence

    def _pick(self, pool: Sequence[str], scene: _Scene, count: int = 1) -> list[str]:
        """Pick sentences which fit the occupation's domain and whose slots can be filled."""
        found: list[str] = []
        for sentence in self.rng.sample(pool, len(pool)):
            if len(found) == count:
                break
            if all(
                scene.job.category in fits for word, fits in DOMAINS if word.search(sentence)
            ) and (filled := self._fill(sentence, scene)):
                found.append(filled)
        return found

    def _situation(self, job: JobTitle) -> str:
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

    def _requirement(self, scene: _Scene, situation: str) -> tuple[list[str], str]:
        """Return the sentences which ask for a level, and that level; none means unstated."""
        rng, job = self.rng, scene.job
        if situation == "apprentice":
            return self._pick(requirements.APPRENTICE, scene, rng.randint(0, 2)), "none"
        if situation == "student":
            return self._pick(requirements.STUDENT, scene), "none"
        if situation == "helper":
            return self._pick(requirements.HELPER, scene, rng.randint(0, 1)), "none"
        if situation == "graduate":
            # Who becomes a doctor of law or of science has the degree already.
            own = (job.category, situation) in situations.OWN
            level = "master" if own else rng.choice(("advanced", "master"))
            return self._pick(requirements.GRADUATE[level], scene), level
        if rng.random() > STATED_SHARE:
            return [], job.level
        level = self._asked_level(job)
        if level == "none" and job.level in ("none", "vocational") and rng.random() < 0.3:
            return self._pick(requirements.WELCOME_TRAINING, scene), "none"
        asked = self._stated(scene, level)
        if level not in ("none", "master") and rng.random() < 0.2:
            asked += self._pick(requirements.WELCOME, scene)
        return asked, level

    def _asked_level(self, job: JobTitle) -> str:
        odds = ASKED[job.level]
        if job.category in LICENSED and job.level == "master":
            odds = {"advanced": 0.05, "master": 0.95}
        return self.rng.choices(tuple(odds), tuple(odds.values()))[0]

    def _stated(self, scene: _Scene, level: str) -> list[str]:
        special = requirements.SPECIAL.get((scene.job.category, level), ())
        if special and self.rng.random() < 0.5:
            return self._pick(special, scene)
        local = requirements.STATED.get((level, scene.country), ())
        common = requirements.STATED[level, requirements.ANY]
        pool = local if local and self.rng.random() < 0.5 else common
        return self._pick(pool, scene) or self._pick(common, scene)

    def _situated(self, scene: _Scene, situation: str) -> str:
        """Say in the title what the situation is: an apprenticeship, a student's job."""
        own = situations.OWN.get((scene.job.category, situation), ())
        common = situations.TITLES.get(situation, ())
        for pool in (own if self.rng.random() < 0.6 else (), common):
            if found := self._pick(pool, scene):
                return found[0]
        return self._decorated(scene)

    def _decorated(self, scene: _Scene) -> str:
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
        self, scene: _Scene, title: str, asked: list[str], situation: str, *, long: bool
    ) -> list[str]:
        """Put the sections in order, some of them missing."""
        rng = self.rng
        opening = self._opening(scene, title, long=long)
        tasks = self._section(sections.TASK_HEADS, self._tasks(scene, rng.randint(3, 8)))
        profile = self._section(sections.PROFILE_HEADS, self._profile(scene, asked, long=long))
        offers = list(sections.BENEFITS)
        benefits = self._pick(offers, scene, rng.randint(2, 6))
        if rng.random() < 0.45:
            benefits += self._pick(sections.EDUCATION_OFFERS, scene)
            rng.shuffle(benefits)
        offer = self._section(sections.OFFER_HEADS, benefits)
        contact = " ".join(self._pick(sections.CONTACT, scene, rng.randint(1, 4)))
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

    def _opening(self, scene: _Scene, title: str, *, long: bool) -> str:
        rng = self.rng
        parts: list[str] = []
        if long or rng.random() < 0.4:
            kind = rng.choice(
                (*sections.EMPLOYERS, "hospital", "university")
            )  # they speak of degrees
            parts += self._pick(sections.EMPLOYERS[kind], scene, 2 if long else 1)
            if rng.random() < 0.4:
                parts += self._pick(sections.PRAISE, scene)
            if rng.random() < 0.2:
                parts += self._pick(sections.COLLEAGUES, scene)
        if rng.random() < 0.75:
            parts += self._pick(sections.SEEKING, scene)
            parts.append(title)
        elif rng.random() < 0.5:
            parts.insert(0, title)
        text = rng.choice((" ", "\n")).join(parts)
        if len(text) > 150 and rng.random() < 0.12:
            text = text[rng.randrange(20, 100) :]  # Samples of ads begin in mid-sentence.
        return text

    def _tasks(self, scene: _Scene, count: int) -> list[str]:
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

    def _profile(self, scene: _Scene, asked: list[str], *, long: bool) -> list[str]:
        rng = self.rng
        most = 3 if long else 2
        rest = self._pick(sections.EXPERIENCE, scene, rng.randint(0, 2))
        rest += self._pick(sections.PERSON, scene, rng.randint(1, most))
        rest += self._pick(sections.SKILLS, scene, rng.randint(0, 2))
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

    def _spelled(self, text: str, scene: _Scene) -> str:
        return wording.swiss(text) if scene.country == "CH" else text


def _spoken(name: str, rng: random.Random) -> str:
    """Say "Mechaniker - Uhrentechnik" as an ad does."""
    if " - " not in name:
        return name
    return name.replace(" - ", rng.choice((" - ", " ", " im Bereich ", " für ", ", ")), 1)
