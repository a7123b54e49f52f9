"""Titles of apprenticeships, student jobs and the like: for all occupations, and by category.

The slot `{name}` is the occupation. What such jobs ask for is in `requirements`.
"""

from app.training.demo.templates import lines

TITLES: dict[str, tuple[str, ...]] = {
    "apprentice": lines(
        """
        Lernende/r {name} EFZ
        Lehrstelle als {name} EFZ
        Lehrstelle {name}
        Ausbildung zum {name} (m/w/d)
        Auszubildende/r {name}
        Azubi {name} (m/w/d)
        Ausbildungsplatz {name}
        Lernende:r {name}
        Lehre als {name} EBA
        """
    ),
    "student": lines(
        """
        Werkstudent {name} (m/w/d)
        Werkstudent:in im Bereich {field}
        Praktikant/in {name}
        Praktikum {name}
        Praktikum als {name}
        Pflichtpraktikum im Bereich {field}
        Studentische Hilfskraft {name}
        Studentische Aushilfe, {field}
        Bachelor- oder Masterarbeit im Bereich {field}
        Abschlussarbeit {field} (m/w/d)
        Studienarbeit zum Thema {study}
        Duales Studium {study}
        Praxissemester {field}
        """
    ),
    "helper": lines(
        """
        Aushilfe {name}
        {name} (Aushilfe, Minijob)
        {name} auf 520-Euro-Basis
        Ferienjob {name}
        {name} im Stundenlohn
        Praktikum {name}
        Schnupperpraktikum {name}
        Studentenjob {name}
        Nebenjob für Studierende: {name}
        """
    ),
    "graduate": lines(
        """
        Hochschulpraktikum {name}
        Hochschulpraktikum im Bereich {field}
        Trainee {name} (m/w/d)
        Hochschulpraktikant/in
        Praktikum für Hochschulabsolventen, {field}
        Traineeprogramm {name}
        """
    ),
}

TITLES_BY_CATEGORY: dict[tuple[str, str], tuple[str, ...]] = {
    ("doctors", "student"): lines(
        """
        Unterassistenzärztin / Unterassistenzarzt
        Wahlstudienjahr Medizin
        Praktisches Jahr (PJ), {field}
        Famulatur
        """
    ),
    ("nursing_emergency", "student"): lines(
        """
        Studierende/r Pflege HF
        Ausbildung zur dipl. Pflegefachperson HF
        Praxismodul für Bachelorstudierende Pflege FH
        Pflegepraktikum
        """
    ),
    ("law", "graduate"): lines(
        """
        Juristisches Praktikum (MLaw)
        Rechtspraktikant/in
        Auditorin / Auditor am Gericht
        Anwaltspraktikum
        """
    ),
    ("teaching_research", "graduate"): lines(
        """
        Doktorandin / Doktorand
        PhD Position
        Wissenschaftliche Hilfskraft mit Abschluss
        """
    ),
    ("social_care_education", "student"): lines(
        """
        Vorpraktikum Sozialpädagogik
        Praktikant/in in Ausbildung FH Soziale Arbeit
        """
    ),
}
