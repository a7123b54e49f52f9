"""Sentences that ask for a level of education, by level and country.

The slot `{training}` is a vocational training of the occupation, `{further}` a further training,
`{study}` a subject of study; sentences whose slots cannot be filled are not used. Each sentence has
the level that `taxonomy/guidelines.md` assigns to it: the lowest that is enough.
"""

from app.training.demo.templates import lines

ANY, GERMANY, SWITZERLAND = "", "DE", "CH"

STATED: dict[tuple[str, str], tuple[str, ...]] = {
    ("none", ANY): lines(
        """
        Eine abgeschlossene Ausbildung ist nicht erforderlich
        Keine Ausbildung nötig, wir arbeiten Sie gründlich ein
        Quereinsteiger sind herzlich willkommen
        Quereinsteigerinnen und Quereinsteiger willkommen
        Auch ohne Berufsausbildung sind Sie bei uns richtig
        Vorkenntnisse sind nicht erforderlich, Sie werden angelernt
        Sie brauchen keine Vorkenntnisse, nur Freude an der Arbeit
        Erfahrung in einer ähnlichen Tätigkeit ist von Vorteil, aber keine Bedingung
        Ob mit oder ohne Ausbildung: Was zählt, ist Ihre Motivation
        Berufserfahrung wünschenswert, Anlernen möglich
        Eine Ausbildung setzen wir nicht voraus, Zuverlässigkeit schon
        Du musst keine Fachkraft sein, wir zeigen dir alles
        Keine Vorkenntnisse? Kein Problem, wir lernen dich an
        Idealerweise erste Erfahrung in diesem Bereich, wir geben auch Einsteigern eine Chance
        Wir suchen eine Person, die anpacken kann; einen Abschluss verlangen wir nicht
        Angelernte Kräfte und Ungelernte sind willkommen
        Als Anlernkraft oder Quereinsteiger willkommen
        """
    ),
    ("none", SWITZERLAND): lines(
        """
        Eine abgeschlossene Lehre ist nicht zwingend
        Quereinstieg möglich, ein Lehrabschluss ist keine Voraussetzung
        Sie haben schon in diesem Bereich gearbeitet oder möchten einsteigen
        """
    ),
    ("vocational", ANY): lines(
        """
        Abgeschlossene Berufsausbildung als {training}
        Abgeschlossene Berufsausbildung als {training} oder vergleichbare Qualifikation
        Abgeschlossene Berufsausbildung als {training} oder einen vergleichbaren Abschluss
        Abgeschlossene Ausbildung als {training} mit Berufserfahrung
        Abgeschlossene Ausbildung zum {training} oder eine gleichwertige Ausbildung
        Eine abgeschlossene Ausbildung als {training} oder in einem verwandten Beruf
        Erfolgreich abgeschlossene Berufsausbildung, gern als {training}
        Ausbildung als {training} und einige Jahre Praxis
        Ausbildung als {training} oder Studium im Bereich {study}
        Abgeschlossene Ausbildung als {training} oder ein Studium ({study})
        Abgeschlossene fachbezogene Berufsausbildung oder Studium
        Abgeschlossene Ausbildung oder abgeschlossenes Studium
        Einschlägige abgeschlossene Berufsausbildung
        Abgeschlossene Berufsausbildung in einem einschlägigen Beruf
        Eine abgeschlossene Ausbildung in diesem Bereich
        Eine abgeschlossene Berufsausbildung, idealerweise als {training}
        Fundierte Ausbildung als {training}
        Fachausbildung als {training} oder mehrjährige einschlägige Erfahrung
        Gelernter {training} oder vergleichbar
        Sie haben eine Ausbildung als {training} abgeschlossen
        Sie sind gelernter {training} oder bringen einen verwandten Beruf mit
        Sie verfügen über eine abgeschlossene Ausbildung als {training}
        Sie bringen eine abgeschlossene Berufsausbildung mit, vorzugsweise als {training}
        Du hast deine Ausbildung als {training} erfolgreich abgeschlossen
        Du bist ausgebildeter {training} oder hast etwas Vergleichbares gelernt
        Du verfügst über eine abgeschlossene Ausbildung als {training} oder ähnlich
        Sie haben einen Berufsabschluss, der zu den Aufgaben passt
        Abgeschlossene technische oder handwerkliche Ausbildung
        Abgeschlossene kaufmännische Ausbildung oder vergleichbare Kenntnisse
        """
    ),
    ("vocational", GERMANY): lines(
        """
        Abgeschlossene 3-jährige Ausbildung als {training}
        Gesellenbrief als {training} oder vergleichbar
        Facharbeiterabschluss als {training}
        Abgeschlossene IHK-Ausbildung als {training}
        Befähigung für den mittleren Dienst
        Abschluss als Verwaltungsfachangestellter oder Verwaltungslehrgang I
        Laufbahnbefähigung für die Laufbahngruppe 1, zweites Einstiegsamt
        Abgeschlossene Ausbildung im dualen System, bevorzugt als {training}
        """
    ),
    ("vocational", SWITZERLAND): lines(
        """
        Abgeschlossene Berufslehre als {training} EFZ
        Abgeschlossene Berufslehre als {training}
        Abgeschlossene Lehre als {training} oder gleichwertige Ausbildung
        Lehrabschluss als {training} mit Berufserfahrung
        Eidgenössisches Fähigkeitszeugnis (EFZ) als {training}
        Ausbildung als {training} EFZ oder EBA
        Grundbildung als {training} EFZ oder gleichwertige Qualifikation
        Sie haben eine Lehre als {training} erfolgreich abgeschlossen
        Sie verfügen über einen EFZ-Abschluss, vorzugsweise als {training}
        Du hast die Lehre als {training} EFZ im Sack
        Berufslehre als {training} mit Fähigkeitsausweis
        Gelernter {training} mit EFZ und Freude am Beruf
        Abgeschlossene Berufslehre, Weiterbildung von Vorteil
        Abgeschlossene kaufmännische Grundausbildung (KV, EFZ oder gleichwertig)
        Kaufmännische Lehre, Handelsschule oder gleichwertige Ausbildung
        Abgeschlossene Grundbildung in einem verwandten Beruf
        Abgeschlossene technische Berufslehre, z. B. als {training}
        Mehrjährige Erfahrung und ein Lehrabschluss als {training}
        Attest- oder Fähigkeitszeugnis als {training}
        """
    ),
    ("advanced", ANY): lines(
        """
        Abgeschlossenes Studium der {study} oder vergleichbare Qualifikation
        Abgeschlossenes Studium in {study} oder eine vergleichbare Ausbildung
        Abgeschlossenes Studium im Bereich {study}
        Erfolgreich abgeschlossenes Studium, vorzugsweise {study}
        Abgeschlossenes Hochschulstudium in {study} oder einem ähnlichen Fach
        Studium ({study} oder vergleichbar) und erste Berufserfahrung
        Bachelorabschluss in {study} oder einer verwandten Fachrichtung
        Bachelor in {study} oder gleichwertiger Abschluss
        Bachelor- oder Masterabschluss in {study}
        Sie haben ein Studium der {study} abgeschlossen
        Sie verfügen über ein abgeschlossenes Studium im Bereich {study}
        Du hast ein Studium in {study} oder einem verwandten Gebiet abgeschlossen
        Weiterbildung zum {further} abgeschlossen
        Abschluss als {further} oder vergleichbare Weiterbildung
        Eine abgeschlossene Ausbildung mit Weiterbildung, etwa zum {further}
        Ausbildung als {training} mit einer Weiterbildung zum {further}
        {further} oder Studium der {study}
        Technische Ausbildung mit Weiterbildung zum Techniker oder Meister
        Höhere Fachausbildung und mehrjährige Berufserfahrung
        Fachhochschulabschluss oder gleichwertige Qualifikation
        Hochschulabschluss auf Stufe Bachelor
        Ein Hochschulabschluss wird vorausgesetzt
        """
    ),
    ("advanced", GERMANY): lines(
        """
        Meister oder Techniker der Fachrichtung {field}
        Abgeschlossene Meisterprüfung oder staatlich geprüfter Techniker
        Staatlich geprüfter Techniker oder Meisterbrief im Fach {field}
        Ausbildung als {training} mit abgeschlossener Meister- oder Technikerprüfung
        Abgeschlossenes (Fach-)Hochschulstudium der {study}
        Studium (Dipl.-Ing. (FH) oder Bachelor) im Fach {study}
        Diplom (FH) oder Bachelor in {study} oder vergleichbar
        Befähigung für den gehobenen Dienst
        Laufbahnbefähigung für die Laufbahngruppe 2, erstes Einstiegsamt
        Abschluss als Verwaltungsfachwirt oder Verwaltungslehrgang II
        Geprüfter Fachwirt, Betriebswirt oder ein Studium der {study}
        Abgeschlossenes Bachelorstudium (Uni, FH oder DHBW)
        """
    ),
    ("advanced", SWITZERLAND): lines(
        """
        Abschluss einer höheren Fachschule (HF) oder Fachhochschule (FH)
        Diplom HF oder FH in {study}
        Studium in {study} (FH) oder vergleichbare Ausbildung
        Hochschulabschluss (FH oder Uni) in {study}
        Fachhochschul- oder Universitätsabschluss in {study}
        Abgeschlossenes Studium (Uni, ETH oder FH) in {study}
        Höhere Berufsbildung (HF, FH, eidg. Fachausweis) oder gleichwertige Ausbildung
        Eidg. Fachausweis als {further} oder in Ausbildung dazu
        Eidgenössisches Diplom oder Fachausweis im Bereich {field}
        Berufslehre als {training} mit Weiterbildung auf Stufe HF oder eidg. Fachausweis
        Lehre als {training} und höhere Weiterbildung (z. B. Techniker HF)
        Grundausbildung mit Weiterbildung zum {further} mit eidg. Fachausweis
        Tertiäre Ausbildung im Bereich {field}
        Höhere Fachprüfung oder Berufsprüfung im Bereich {field}
        Ausbildung auf Tertiärstufe (HF/FH) und Praxis
        Du hast eine Ausbildung HF oder FH abgeschlossen
        Betriebswirtschaftliche Weiterbildung (HF/FH) nach der Lehre
        Kaufmännische Ausbildung mit höherer Weiterbildung (Fachausweis, HF oder FH)
        """
    ),
    ("master", ANY): lines(
        """
        Abgeschlossenes Masterstudium in {study} oder gleichwertig
        Abgeschlossenes wissenschaftliches Hochschulstudium der {study}
        Universitätsabschluss (Master oder Diplom) in {study}
        Masterabschluss in {study} oder einem verwandten Fach
        Sie haben Ihr Masterstudium in {study} abgeschlossen
        Abgeschlossenes Universitätsstudium, vorzugsweise in {study}
        Universitärer Hochschulabschluss in {study}
        Hochschulabschluss auf Stufe Master in {study}
        Du hast einen Master in {study} oder stehst kurz vor dem Abschluss
        Promotion in {study} oder einem angrenzenden Gebiet
        Abgeschlossene Promotion und Erfahrung in der Forschung
        Sehr guter Masterabschluss in {study}, Promotion von Vorteil
        Abgeschlossenes Studium in {study} mit Masterabschluss
        Abgeschlossenes Studium mit Promotion oder gleichwertiger Forschungserfahrung
        """
    ),
    ("master", GERMANY): lines(
        """
        Abgeschlossenes wissenschaftliches Hochschulstudium (Master, Diplom oder Magister)
        Diplom (Univ.) oder Master in {study}
        Befähigung für den höheren Dienst
        Laufbahnbefähigung für die Laufbahngruppe 2, zweites Einstiegsamt
        """
    ),
    ("master", SWITZERLAND): lines(
        """
        Abgeschlossenes Hochschulstudium (Universität oder ETH) in {study}
        Masterabschluss einer Universität oder der ETH, vorzugsweise {study}
        Universitäres Studium mit Masterabschluss oder Lizentiat
        Hochschulstudium auf Stufe Master (Universität/ETH)
        """
    ),
}

APPRENTICE = lines(
    """
    Guter Hauptschulabschluss oder mittlere Reife
    Mindestens ein Hauptschulabschluss und Interesse am Beruf
    Realschulabschluss, Fachabitur oder Abitur
    Abgeschlossene Volksschule (Sek A oder B)
    Du hast die obligatorische Schule abgeschlossen
    Gute Noten in Mathematik und Deutsch
    Du bist im letzten Schuljahr und hast bei uns geschnuppert
    Sekundarschulabschluss und Freude am Lernen
    Schulabschluss und handwerkliches Geschick
    Interesse am Beruf und Lust, etwas zu lernen
    Abgeschlossene Schulzeit, Teamgeist und Neugier
    """
)
STUDENT = lines(
    """
    Du bist an einer Hochschule immatrikuliert, am liebsten in {study}
    Immatrikulation an einer Universität oder Fachhochschule
    Laufendes Studium der {study} oder eines ähnlichen Fachs
    Sie studieren {study} und haben Zeit für zehn bis zwanzig Stunden in der Woche
    Student oder Studentin im Bereich {study}, mindestens im dritten Semester
    Du studierst {study} oder willst vor dem Studium Praxis sammeln
    Sie stehen mitten im Studium und möchten Praxisluft schnuppern
    Eingeschriebener Student oder eingeschriebene Studentin der {study}
    Sie sind im Bachelor- oder Masterstudium und suchen ein Thema für Ihre Arbeit
    Fortgeschrittenes Bachelorstudium oder begonnenes Masterstudium in {study}
    Du studierst {study} auf Bachelor- oder Masterstufe
    Student/in der {study} mit guten Noten; nach dem Bachelor bist du auch willkommen
    Gültige Immatrikulationsbescheinigung für die Dauer der Tätigkeit
    Abitur oder Matura mit guten Noten
    """
)
HELPER = lines(
    """
    Du bist mindestens 16 Jahre alt und zuverlässig
    Auch für Schüler, Rentner und Studierende geeignet
    Mindestalter 18 Jahre, gute körperliche Verfassung
    Keine Vorkenntnisse nötig
    """
)
GRADUATE: dict[str, tuple[str, ...]] = {
    "advanced": lines(
        """
        Abgeschlossenes Studium (Bachelor oder Master), das nicht mehr als ein Jahr zurückliegt
        Hochschulabschluss auf Stufe Bachelor in {study}
        Du hast dein Bachelorstudium in {study} gerade abgeschlossen
        Abgeschlossenes Studium der {study} mit guten Noten
        """
    ),
    "master": lines(
        """
        Hochschulabschluss auf Stufe Master in {study}, der höchstens ein Jahr zurückliegt
        Masterabschluss in {study} mit guten Noten
        Abgeschlossenes Masterstudium in {study}; die Stelle bietet Gelegenheit zur Promotion
        """
    ),
}

WELCOME = lines(
    """
    Ein Studium im Bereich {study} ist von Vorteil, aber kein Muss
    Weiterbildung zum {further} von Vorteil
    Idealerweise eine Weiterbildung zum {further}
    Eine Zusatzausbildung ist wünschenswert
    Masterabschluss wünschenswert
    Ein Bachelorabschluss wäre ein Plus
    Eine Weiterbildung (HF, FH oder Fachausweis) ist von Vorteil
    Promotion ist gern gesehen, aber nicht nötig
    Idealerweise Meister- oder Technikerabschluss
    Studium der {study} erwünscht
    """
)
WELCOME_TRAINING = lines(
    """
    Von Vorteil ist eine Ausbildung als {training}
    Eine Ausbildung als {training} ist wünschenswert
    Idealerweise haben Sie eine Ausbildung als {training}
    """
)
