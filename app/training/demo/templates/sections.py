"""Sentences of the other sections of an ad, and their headings."""

from app.training.demo.templates import lines

SEEKING = lines(
    """
    Unser Team braucht Verstärkung, per sofort oder nach Vereinbarung:
    Wir ergänzen unser Team und suchen ab sofort
    Für unseren Standort in {place} suchen wir zum nächstmöglichen Zeitpunkt
    Wir suchen Sie als
    Wir suchen dich als
    Wir suchen nach Vereinbarung eine engagierte Persönlichkeit als
    Zum nächstmöglichen Zeitpunkt ist folgende Stelle zu besetzen:
    Infolge Pensionierung der Stelleninhaberin suchen wir eine/n
    Für unsere Abteilung suchen wir in Voll- oder Teilzeit
    Im Auftrag unseres Kunden suchen wir eine/n
    Komm zu uns als
    Verstärken Sie uns in {place} als
    Bei uns ist ab sofort unbefristet zu besetzen:
    """
)
TASK_HEADINGS = lines(
    """
    Ihre Aufgaben
    Ihre Aufgaben:
    Deine Aufgaben
    Das erwartet Sie
    Das erwartet dich
    Aufgaben
    Aufgaben:
    Ihr Aufgabengebiet
    Ihr Aufgabenbereich umfasst:
    Das sind Ihre Aufgaben
    Hier können Sie mitwirken
    Was du bewirken kannst
    Tätigkeiten
    Ihre Tätigkeit
    Ihr Verantwortungsbereich
    Damit überzeugt die Stelle
    Aufgabenschwerpunkte
    Ihre Hauptaufgaben:
    Dein Job
    Zu Ihren Aufgaben gehören:
    So sieht dein Alltag aus
    Darum geht es
    """
)
PROFILE_HEADINGS = lines(
    """
    Das bringen Sie mit
    Das bringst du mit
    Ihr Profil
    Ihr Profil:
    Dein Profil
    Anforderungen
    Anforderungen:
    Profil
    Wir erwarten
    Unsere Erwartungen
    Was Sie mitbringen
    Was uns überzeugt
    Womit Sie uns begeistern
    Damit punktest du
    Voraussetzungen
    Sie verfügen über
    Ihre Qualifikation
    Anforderungsprofil
    Sie bringen mit
    Wen wir suchen
    Das zeichnet Sie aus
    """
)
OFFER_HEADINGS = lines(
    """
    Wir bieten
    Wir bieten Ihnen
    Das bieten wir
    Das dürfen Sie erwarten
    Unser Angebot
    Ihre Vorteile
    Benefits
    Deine Vorteile
    Darauf kannst du dich freuen
    Was wir bieten
    Freuen Sie sich auf
    """
)
EXPERIENCE = lines(
    """
    Mehrere Jahre Praxis in einer vergleichbaren Stelle
    Erste Berufserfahrung von Vorteil
    Einige Jahre Erfahrung im Bereich {field}
    Praxis im Bereich {field}
    Erfahrung in einem ähnlichen Umfeld
    Mindestens zwei Jahre Berufserfahrung
    Fundierte Kenntnisse im Bereich {field}
    Idealerweise Erfahrung im Bereich {field}
    Führungserfahrung von Vorteil
    Branchenkenntnisse sind willkommen, aber nicht Bedingung
    Berufseinsteiger sind ebenfalls willkommen
    """
)
PERSONALITY = lines(
    """
    Teamfähigkeit und Freude am Kontakt mit Menschen
    Selbständige und genaue Arbeitsweise
    Zuverlässigkeit, Flexibilität und Belastbarkeit
    Kommunikationsstärke und sicheres Auftreten
    Hohe Einsatzbereitschaft und Verantwortungsbewusstsein
    Sie behalten auch in hektischen Zeiten den Überblick
    Du packst gern an und denkst mit
    Analytisches und vernetztes Denken
    Hohe Sozialkompetenz und Einfühlungsvermögen
    Freundliches und gepflegtes Auftreten
    Bereitschaft zu unregelmäßigen Arbeitszeiten
    Bereitschaft zu Schicht- und Wochenenddienst
    Organisationstalent und Sinn für Ordnung
    Dienstleistungsorientierung und Loyalität
    Freude an Neuem und Lernbereitschaft
    Körperliche Fitness und Ausdauer
    Lösungsorientiert, offen und humorvoll
    """
)
SKILLS = lines(
    """
    Gute Deutschkenntnisse in Wort und Schrift
    Sehr gutes Deutsch, Französisch wäre schön
    Gute Englischkenntnisse
    Deutsch und Englisch fließend
    Deutschkenntnisse mindestens auf Niveau B1
    Sicherer Umgang mit den MS-Office-Programmen
    Gute PC-Kenntnisse
    SAP-Kenntnisse sind von Vorteil
    Führerschein Klasse B
    Gute Kenntnisse einer zweiten Amtssprache
    Stilsicheres Deutsch, weitere Sprachen sind ein Plus
    Versiert im Umgang mit digitalen Werkzeugen
    """
)
BENEFITS = lines(
    """
    Eine abwechslungsreiche Stelle mit viel Gestaltungsraum
    Flexible Arbeitszeiten und die Möglichkeit zum Homeoffice
    Gründliche Einarbeitung durch erfahrene Kolleginnen und Kollegen
    Fünf Wochen Ferien und eine gute Pensionskasse
    30 Tage Urlaub und Weihnachtsgeld
    Vergütung nach TVöD mit Jahressonderzahlung
    Leistungsgerechte Bezahlung nach Tarif
    Faire Entlöhnung und moderne Sozialleistungen
    Kostenlose Parkplätze und Fahrrad-Leasing
    Vergünstigtes Essen in unserem Personalrestaurant
    Ein kollegiales Team und flache Hierarchien
    Zuschuss zum Jobticket und Mitarbeiterrabatte
    Betriebliche Altersvorsorge und Gesundheitsangebote
    Einen sicheren, unbefristeten Arbeitsplatz
    Modern eingerichtete Arbeitsplätze, gut mit Bus und Bahn erreichbar
    Kinderbetreuung im eigenen Hort
    Regelmäßige Feste und Ausflüge
    """
)
EDUCATION_OFFERS = lines(
    """
    Großzügige Unterstützung bei Aus- und Weiterbildungen
    Wir bilden aus: jedes Jahr starten bei uns {small} Lernende
    Weiterbildung in unserer eigenen Akademie, bis hin zum Studium
    Fortbildung zum Meister oder Techniker wird von uns bezahlt
    Vielfältige Weiterbildungsmöglichkeiten an Hochschulen und Fachschulen
    Wir fördern berufsbegleitende Studiengänge bis zum Master
    Unsere Ausbildungsplätze gehören zu den begehrtesten der Region
    Mit unserem Traineeprogramm fördern wir Hochschulabsolventen
    Wir bieten Praktika, Lehrstellen und Plätze für ein duales Studium
    """
)
CONTACT = lines(
    """
    Haben wir Ihr Interesse geweckt? Dann freuen wir uns auf Ihre Bewerbung.
    Fragen beantwortet Ihnen gern {person}, Telefon {phone}.
    Senden Sie Ihre vollständigen Unterlagen bis zum {day}. {month} an {mail}.
    Bewirb dich jetzt online mit deinem Lebenslauf!
    Wir freuen uns auf deine Bewerbung mit Lebenslauf und Zeugnissen.
    Für Auskünfte steht Ihnen {person} zur Verfügung.
    Schwerbehinderte Menschen werden bei gleicher Eignung bevorzugt berücksichtigt.
    Bewerbungen von Frauen sind ausdrücklich erwünscht.
    Bitte bewerben Sie sich online über unser Portal.
    Für diese Vakanz berücksichtigen wir nur Direktbewerbungen.
    Kontakt: {person}, {company}, {place}
    """
)
CONTACT_NAMES = lines(
    """
    Frau Keller
    Herr Brandt
    Frau Dr. Sommer
    Herr Aebischer
    Frau Yılmaz
    Herr Nowak
    Frau Lüthi
    Herr Petersen
    """
)
MONTHS = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
]
