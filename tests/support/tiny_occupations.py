"""A small shared folder: five job categories and a dozen occupations."""

from pathlib import Path

TABLES = {
    "taxonomy/job_categories.csv": """\
label,name_de,name_en,kldb2010_prefixes
materials,Werkstoffe,Materials,231 233
design,Gestaltung,Design,232 93
security,Sicherheit,Security,53 01
cooking,Küche,Cooking,29
cleaning,Reinigung,Cleaning,54
""",
    "taxonomy/min_education_levels.csv": """\
label,rank,name_de,name_en,kldb2010_requirement_level,dqr_levels
none,0,Keine,None,1,1-2
vocational,1,Ausbildung,Training,2,3-4
advanced,2,Meister,Advanced,3,5-6
master,3,Master,Master,4,7-8
""",
    "data/kldb2010_titles.tsv": """\
title\tkldb5
Koch/Köchin\t29301
Grafiker/in\t23222
Drucker/in\t23322
Raumpfleger/in\t54101
Küchenhilfe\t29301
Küchenmeister/in\t29393
Designwissenschaftler/in\t23224
Offizier/in\t01104
Zwitter/in\t29302
Zwitter/in\t54102
Doppelkoch/-köchin\t29302
Doppelkoch/-köchin\t29303
""",
    "data/ba_occupations.csv": """\
id,bkz,type,short_title
1,B 29302-100,t,Koch/Köchin
2,B 23223-900,a,Bachelor of Arts - Grafik
3,B 29302-901,a,Diätkoch/-köchin
""",
    "data/kldb2010_explanations.csv": """\
Schlüssel KldB 2010, V. 2020;Ebene;Allgemeine Bemerkungen;Einschlüsse
1104;5;Offiziere führen die Truppe.;Soldaten ausbilden   Einsätze im Gelände leiten
2930;4;Köche bereiten Speisen zu.;Speisen zubereiten   große Mengen abfüllen   Menüs planen
""",
    "data/kldb2010_isco08.csv": """\
kldb5,isco08
29302,5120
54101,9112
29301,9999
54102,9999
""",
    "data/esco_occupations_de.csv": """\
title,isco08,alternative_titles,description
Koch/Köchin,5120,Kantinenkoch|Kantinenköchin,Köche kochen. Sie bereiten Speisen zu.
Putzmann/Putzfrau,9112,,Sie reinigen Räume.
Unklarer/Unklare,9999,,Niemand weiß es.
""",
}


def write_occupation_tables(folder: Path) -> Path:
    """Write the tables into a shared folder; returns the folder."""
    for name, text in TABLES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
