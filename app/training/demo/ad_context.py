"""The context that the sentences of one ad share: occupation, country, employer, slot values."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.training.demo import german_phrasing
from app.training.demo.job_families import JobFamily
from app.training.demo.job_titles import TitleForms, write_title
from app.training.demo.occupations import Catalog, JobTitle, by_prefix
from app.training.demo.templates import employers, sections

SLOT = re.compile(r"\{(\w+)\}")
SWISS_SHARE = 0.6
SAME_FIELD_SHARE = 0.8
"""Share of the colleagues named in an ad who work in the same field, by the first KldB digit."""

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
CATEGORIES_OF_WORDING = (
    (re.compile(r"aufmännisch|etriebswirt|Handelsschule|\bKV\b"), COMMERCIAL),
    (re.compile(r"technische|Techniker|Meister|Gesellen|Facharbeiter"), TECHNICAL),
    (re.compile(r"Dienst\b|Laufbahn|Verwaltung"), PUBLIC),
)
"""A sentence with a word of the pattern fits only ads of these categories."""


@dataclass(slots=True)
class AdContext:
    """The occupation, country and slot values of one ad; picks sentences that fit them."""

    job: JobTitle
    title: str
    country: str
    family: JobFamily
    slots: dict[str, Sequence[str]]
    """The values to choose from for each slot; a sentence with an empty slot is not used."""
    rng: random.Random

    def fill(self, sentence: str) -> str | None:
        """Fill the slots of a sentence; returns None if there is no value for one of them."""
        for slot in SLOT.findall(sentence):
            if not (values := self.slots.get(slot)):
                return None
            sentence = sentence.replace("{" + slot + "}", self.rng.choice(values), 1)
        return sentence

    def pick(self, pool: Sequence[str], count: int = 1) -> list[str]:
        """Return up to `count` random sentences that fit the category, with their slots filled."""
        found: list[str] = []
        for sentence in self.rng.sample(pool, len(pool)):
            if len(found) == count:
                break
            if all(
                self.job.category in fits
                for word, fits in CATEGORIES_OF_WORDING
                if word.search(sentence)
            ) and (filled := self.fill(sentence)):
                found.append(filled)
        return found

    def spell(self, text: str) -> str:
        """Return a text in the spelling of the ad's country."""
        return german_phrasing.swiss(text) if self.country == "CH" else text


class AdContextSampler:
    """Draws the contexts of ads for job titles."""

    def __init__(
        self, catalog: Catalog, families: Mapping[str, JobFamily], rng: random.Random
    ) -> None:
        self.catalog = catalog
        self.families = families
        self.rng = rng
        self._by_field: dict[str, list[JobTitle]] = {}
        for job in catalog.titles:
            self._by_field.setdefault(job.code[0], []).append(job)

    def sample(self, job: JobTitle) -> AdContext:
        """Draw country, employer, title and slot values of an ad."""
        rng = self.rng
        country = job.country or ("CH" if rng.random() < SWISS_SHARE else "DE")
        family = by_prefix(self.families, job.code, 2) or JobFamily()
        places = employers.PLACES_CH if country == "CH" else employers.PLACES_DE
        tails = employers.COMPANY_TAILS_CH if country == "CH" else employers.COMPANY_TAILS_DE
        company = f"{rng.choice(employers.COMPANY_STEMS)} {rng.choice(tails)}".strip()
        slots = self._qualifications(job, family, country) | {
            "company": (company,),
            "place": (rng.choice(places),),
            "number": (str(rng.choice((120, 350, 600, 900, "1'800", 2500, "über 4000"))),),
            "small": (str(rng.randint(8, 95)),),
            "person": sections.CONTACT_NAMES,
            "name": (job.forms.masculine,),
            "colleague": self._colleagues(job),
            "phone": (f"0{rng.randint(30, 99)} {rng.randint(100, 999)} {rng.randint(10, 99)} 00",),
            "mail": (f"bewerbung@{company.split()[0].lower()}.example",),
            "day": (str(rng.randint(1, 28)),),
            "month": sections.MONTHS,
        }
        forms = TitleForms(
            _join_parts(job.forms.masculine, rng), _join_parts(job.forms.feminine, rng)
        )
        return AdContext(job, write_title(forms, rng), country, family, slots, rng)

    def _colleagues(self, job: JobTitle) -> tuple[str, ...]:
        """Draw three other occupations for the text, so that it does not only name the ad's own."""
        same_field = self._by_field.get(job.code[0], self.catalog.titles)
        pools = [
            same_field if self.rng.random() < SAME_FIELD_SHARE else self.catalog.titles
            for _ in range(3)
        ]
        return tuple(self.rng.choice(pool).forms.masculine for pool in pools)

    def _qualifications(
        self, job: JobTitle, family: JobFamily, country: str
    ) -> dict[str, Sequence[str]]:
        """Return the values for the slots of requirement sentences."""
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


def _join_parts(name: str, rng: random.Random) -> str:
    """Join the parts of titles such as "Mechaniker - Uhrentechnik" as ads do."""
    if " - " not in name:
        return name
    return name.replace(" - ", rng.choice((" - ", " ", " im Bereich ", " für ", ", ")), 1)
