"""Sentences that ask for a level of education in the words of one job category.

The slots are those of `requirements`.
"""

from app.training.demo.templates import lines

STATED_BY_CATEGORY: dict[tuple[str, str], tuple[str, ...]] = {
    ("doctors", "master"): lines(
        """
        Approbation als Arzt oder Ärztin
        Deutsche Approbation und Freude an der Arbeit mit Patienten
        Facharztanerkennung oder fortgeschrittene Weiterbildung
        Facharzttitel oder kurz vor dem Abschluss der Weiterbildung
        Abgeschlossenes Studium der Medizin und Approbation
        Abgeschlossenes Medizinstudium, eidgenössisches oder anerkanntes Arztdiplom
        Arztdiplom und Eintrag im Medizinalberuferegister (MedReg)
        Eidgenössischer Facharzttitel oder gleichwertige Anerkennung
        Sie sind Facharzt oder Fachärztin mit breiter klinischer Erfahrung
        Staatsexamen in Humanmedizin
        """
    ),
    ("law", "master"): lines(
        """
        Zwei juristische Staatsexamen mit gutem Ergebnis
        Volljuristin oder Volljurist mit Befähigung zum Richteramt
        Erstes und zweites juristisches Staatsexamen
        Master in Rechtswissenschaften an einer Universität
        Juristisches Studium mit Abschluss; ein Anwaltspatent ist gern gesehen
        Juristisches Studium an einer Universität und Anwaltspatent
        Rechtsanwaltspatent oder gleichwertige Berufserfahrung
        Master of Law, MLaw oder lic. iur.
        Abgeschlossenes Jusstudium mit Masterabschluss
        Abgeschlossenes rechtswissenschaftliches Studium und Praxis an einem Gericht
        """
    ),
    ("law", "vocational"): lines(
        """
        Abgeschlossene Ausbildung als Rechtsanwaltsfachangestellte oder Notarfachangestellter
        Ausbildung zum Justizfachangestellten oder in einem verwandten Beruf
        Kaufmännische Lehre, gern in einer Kanzlei oder auf einem Notariat
        """
    ),
    ("law", "advanced"): lines(
        """
        Bachelor in Rechtswissenschaften oder Wirtschaftsrecht
        Abgeschlossenes Studium als Diplom-Rechtspfleger (FH)
        Bachelor of Law oder Wirtschaftsjurist FH
        """
    ),
    ("nursing_emergency", "advanced"): lines(
        """
        Diplom als Pflegefachfrau oder Pflegefachmann HF/FH
        Abgeschlossene Ausbildung als dipl. Pflegefachperson HF oder FH
        Dipl. Pflegefachperson (HF, FH, DNII oder altrechtliches Diplom, SRK anerkannt)
        Dipl. Pflegefachfrau / dipl. Pflegefachmann mit Freude am Beruf
        Du bist diplomierte Pflegefachperson HF/FH oder hast ein vom SRK anerkanntes Diplom
        Nachdiplomstudium NDS HF in Intensiv-, Notfall- oder Anästhesiepflege
        Bachelor of Science in Pflege
        Diplom als Rettungssanitäter HF
        Bachelor als Hebamme oder gleichwertiges Diplom
        """
    ),
    ("nursing_emergency", "vocational"): lines(
        """
        Abgeschlossene Ausbildung als Pflegefachfrau, Pflegefachmann oder Altenpfleger
        Examinierte Pflegefachkraft (Gesundheits- und Krankenpflege oder Altenpflege)
        Dreijährige Pflegeausbildung mit Examen
        Staatlich anerkannter Abschluss in der Gesundheits- und Krankenpflege
        Ausbildung als Notfallsanitäter oder Rettungsassistent
        Abschluss als Fachfrau oder Fachmann Gesundheit EFZ
        Fachfrau/-mann Gesundheit (FaGe) oder Fachfrau/-mann Betreuung (FaBe)
        FaGe EFZ oder Assistentin Gesundheit und Soziales EBA
        Einjährige Ausbildung als Pflegehelfer oder Pflegeassistent
        """
    ),
    ("nursing_emergency", "none"): lines(
        """
        Pflegebasiskurs erwünscht, aber keine Bedingung
        Auch ohne Pflegeausbildung helfen wir Ihnen beim Einstieg in die Pflege
        """
    ),
    ("therapy_pharmacy", "master"): lines(
        """
        Abgeschlossenes Psychologiestudium (Master) und Weiterbildung in Psychotherapie
        Approbation als Psychologischer Psychotherapeut
        Approbation als Apotheker oder eidg. Apothekerdiplom
        Staatsexamen in Pharmazie
        """
    ),
    ("therapy_pharmacy", "advanced"): lines(
        """
        Diplom als Physiotherapeut FH oder gleichwertige, vom SRK anerkannte Ausbildung
        Bachelor in Ergotherapie, Logopädie oder Ernährung und Diätetik
        Dipl. Physiotherapeutin oder dipl. Ergotherapeut HF/FH
        """
    ),
    ("therapy_pharmacy", "vocational"): lines(
        """
        Staatlich anerkannte Ausbildung als Physiotherapeut oder Ergotherapeut
        Abgeschlossene Ausbildung als PTA, PKA oder Pharma-Assistentin
        """
    ),
    ("medical_assistance", "vocational"): lines(
        """
        Ausbildung als medizinische Praxisassistentin (MPA) oder Arztgehilfin
        Abgeschlossene Ausbildung als MFA, ZFA oder Arzthelferin
        Dipl. MPA oder MPA EFZ mit Freude am Umgang mit Patienten
        Ausbildung zur medizinisch-technischen Assistenz (MTA)
        """
    ),
    ("medical_assistance", "advanced"): lines(
        """
        Diplom als biomedizinische Analytikerin HF oder gleichwertig
        Dipl. Radiologiefachperson HF oder FH
        Dipl. Fachfrau Operationstechnik HF
        """
    ),
    ("teaching_research", "master"): lines(
        """
        Erstes und zweites Staatsexamen für das Lehramt
        Lehrdiplom für Maturitätsschulen und Masterabschluss
        Habilitation oder gleichwertige wissenschaftliche Leistungen
        Abgeschlossene Promotion und Publikationen in anerkannten Zeitschriften
        """
    ),
    ("teaching_research", "advanced"): lines(
        """
        Lehrdiplom für die Primar- oder Sekundarstufe I
        Bachelor einer pädagogischen Hochschule
        Fachausweis Ausbilder und Fachabschluss auf Tertiärstufe
        """
    ),
    ("social_care_education", "advanced"): lines(
        """
        Staatlich anerkannter Erzieher oder Sozialpädagoge
        Staatlich anerkannte Erzieherin, Heilerziehungspfleger oder vergleichbar
        Studium der Sozialen Arbeit oder Sozialpädagogik (Bachelor oder Diplom)
        Ausbildung in Sozialpädagogik HF/FH oder Kindheitspädagogik HF
        Abgeschlossene Ausbildung in Sozialer Arbeit (FH, HF)
        """
    ),
    ("social_care_education", "vocational"): lines(
        """
        Staatlich geprüfter Kinderpfleger oder Sozialassistentin
        Fachfrau oder Fachmann Betreuung (FaBe) EFZ
        Ausbildung in der Hauswirtschaft (EFZ oder gleichwertig)
        """
    ),
    ("finance_accounting", "advanced"): lines(
        """
        Fachausweis im Finanz- und Rechnungswesen
        Treuhänder mit eidg. Fachausweis oder in Ausbildung dazu
        Bilanzbuchhalter, Steuerfachwirt oder Studium der Betriebswirtschaft
        Bankfachwirt, Sparkassenfachwirt oder Studium mit Schwerpunkt Finanzen
        Bankausbildung mit höherer Weiterbildung (HF, FH, Finanzplaner)
        Höhere Ausbildung im Bank- oder Finanzwesen
        Dipl. Experte in Rechnungslegung und Controlling
        Steuerberaterexamen oder dipl. Steuerexperte
        """
    ),
    ("finance_accounting", "vocational"): lines(
        """
        Abgeschlossene Bankausbildung
        Banklehre oder kaufmännische Grundausbildung mit Bankerfahrung
        Ausbildung als Bankkaufmann, Versicherungskaufmann oder vergleichbar
        Ausbildung als Steuerfachangestellter oder Buchhalter
        Kaufmännische Ausbildung und Kenntnisse in der Buchhaltung
        """
    ),
    ("information_technology", "advanced"): lines(
        """
        Ein Studium wie Informatik, Wirtschaftsinformatik oder Ähnliches
        Abgeschlossenes Studium mit IT-Schwerpunkt oder eine vergleichbare Qualifikation
        Informatikstudium (FH/HF/Uni) oder gleichwertige Weiterbildung
        Höhere Informatikausbildung (HF, FH) mit Praxis
        """
    ),
    ("information_technology", "vocational"): lines(
        """
        Ausbildung als Fachinformatiker oder eine vergleichbare Qualifikation
        Lehre als Informatiker EFZ oder gleichwertige Erfahrung
        Abgeschlossene IT-Ausbildung oder Studium der Informatik
        """
    ),
    ("driving_transport", "none"): lines(
        """
        Führerschein der Klasse B und sichere Fahrweise
        Führerausweis Kategorie B, Ortskenntnisse von Vorteil
        Führerschein Klasse CE mit Modul 95 und Fahrerkarte
        Staplerschein und etwas Fahrpraxis
        """
    ),
    ("security_defence", "none"): lines(
        """
        Sachkundeprüfung nach § 34a oder die Bereitschaft, sie abzulegen
        Einwandfreier Leumund; den Sicherheitsgrundkurs erhalten Sie bei uns
        """
    ),
    ("security_defence", "vocational"): lines(
        """
        Ausbildung als Fachkraft für Schutz und Sicherheit
        Abgeschlossene Berufslehre und Bereitschaft zur Polizeischule
        Grundausbildung als Polizist oder Grenzwächter mit Fachausweis
        """
    ),
}
