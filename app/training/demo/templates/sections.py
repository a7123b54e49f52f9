# ruff: noqa: E501 (a sentence stays on one line: each line is one)
"""Sentences for the other sections of an ad: employer, headings, person, benefits, contact."""

from app.training.demo.templates import lines

COMPANY_STEMS = ["Nordwerk", "Alpina", "Rheintal", "Seeblick", "Bergmann", "Lindenhof", "Talbach", "Holderer", "Kessler", "Ostmark", "Brunner", "Sonnhalde", "Wiesental", "Hartmeier", "Ferrum", "Novalux", "Medora", "Civitas", "Steinbock", "Aarauer", "Isarland", "Mainufer", "Elbtal", "Gotthard", "Silvretta", "Hügli", "Zumsteg", "Kranich", "Falken", "Adler", "Vogtland", "Hansa", "Kolibri", "Delta", "Argon", "Primus", "Optima", "Tecta", "Vitalis", "Polaris", "Quadra"]  # fmt: skip
COMPANY_TAILS_DE = ("GmbH", "GmbH & Co. KG", "AG", "Gruppe", "e. V.", "SE", "KG", "gGmbH", "")
COMPANY_TAILS_CH = ("AG", "GmbH", "Gruppe", "Schweiz AG", "Genossenschaft", "Stiftung", "")
PLACES_DE = [
    "Hamburg",
    "München",
    "Köln",
    "Leipzig",
    "Kassel",
    "Ulm",
    "Bremen",
    "Jena",
    "Erfurt",
    "Rostock",
    "Augsburg",
    "Mainz",
    "Bonn",
    "Kiel",
    "Potsdam",
    "Würzburg",
    "Freiburg",
    "Dortmund",
    "Essen",
    "Hannover",
    "Nürnberg",
    "Regensburg",
    "Chemnitz",
    "Trier",
]
PLACES_CH = [
    "Zürich",
    "Bern",
    "Basel",
    "Luzern",
    "Winterthur",
    "Chur",
    "Thun",
    "Olten",
    "Aarau",
    "Zug",
    "Solothurn",
    "Schaffhausen",
    "Wil",
    "Frauenfeld",
    "Uster",
    "Baden",
    "Biel",
    "Freiburg",
    "Brig",
    "Davos",
    "Altdorf",
    "Sursee",
    "Langenthal",
    "Rapperswil",
]

EMPLOYERS: dict[str, tuple[str, ...]] = {
    "hospital": lines(
        """
        {company} ist ein Spital der Zentrumsversorgung mit {number} Mitarbeitenden. Rund um die Uhr sind wir für unsere Patientinnen und Patienten da.
        Als Klinik mit {number} Betten behandeln wir jedes Jahr viele tausend Menschen ambulant und stationär.
        Das Klinikum {place} vereint Medizin, Pflege, Forschung und Lehre unter einem Dach. {number} Beschäftigte arbeiten in mehr als zwanzig Fachabteilungen und in der Verwaltung zusammen.
        Unser Krankenhaus in {place} gehört zu den größten Arbeitgebern der Region und steht für moderne Medizin in familiärem Rahmen.
        Unser Universitätsspital betreut Patient:innen auf höchstem Niveau, mit Teams aus vielen Berufen.
        """
    ),
    "care": lines(
        """
        In unserem Alters- und Pflegezentrum leben {number} Bewohnerinnen und Bewohner. Wir legen Wert auf eine herzliche Atmosphäre.
        Die {company} betreibt Wohnheime, Werkstätten und Tagesstätten für Menschen mit Unterstützungsbedarf.
        Als kirchlicher Träger führen wir Kitas, Seniorenheime und Beratungsstellen in der Region {place}.
        """
    ),
    "municipality": lines(
        """
        Die Stadt {place} versteht sich als moderne Dienstleisterin für ihre Einwohnerinnen und Einwohner.
        Die Gemeindeverwaltung {place} zählt {number} Mitarbeitende und bietet vielfältige Aufgaben nahe bei den Menschen.
        Das Landratsamt {place} ist eine bürgernahe Behörde mit {number} Beschäftigten.
        Das kantonale Amt sorgt mit {number} Mitarbeitenden für sichere und verlässliche Dienste für die Bevölkerung.
        Das Bundesamt setzt sich für die Interessen des Landes ein. Arbeiten Sie mit an Aufgaben von nationaler Bedeutung.
        Beim Land sind im Geschäftsbereich des Ministeriums mehrere Stellen zu besetzen. Der Dienstort ist {place}.
        """
    ),
    "retail": lines(
        """
        {company} steht mit {number} Filialen für frische Ware, faire Preise und freundliche Beratung.
        Als Handelsunternehmen mit eigener Logistik und Produktion beliefern wir Kundinnen und Kunden im ganzen Land.
        Unser Warenhaus in {place} ist seit Generationen ein Treffpunkt für alle, die gern einkaufen.
        Wir sind ein wachsender Online-Händler mit Sitz in {place} und liefern täglich tausende Pakete aus.
        """
    ),
    "craft": lines(
        """
        Wir sind ein Familienbetrieb mit {small} Mitarbeitenden in {place} und arbeiten für Private, Gewerbe und Gemeinden.
        Die {company} ist seit über vierzig Jahren als Meisterbetrieb in der Region {place} tätig.
        Als Bauunternehmung führen wir Projekte jeder Größe aus, vom Umbau bis zum Neubau.
        Unser Team von {small} Leuten löst handwerkliche Aufgaben sauber, pünktlich und mit Humor.
        """
    ),
    "agency": lines(
        """
        Als Personaldienstleister vermitteln wir Fach- und Hilfskräfte an Unternehmen in der Region {place}.
        Für unseren Kunden, ein bekanntes Unternehmen im Raum {place}, suchen wir Verstärkung.
        Im Auftrag unserer Mandantin, einer erfolgreichen KMU, suchen wir nach Vereinbarung eine Persönlichkeit für die folgende Stelle.
        Wir bringen Menschen und Firmen zusammen, temporär oder in Festanstellung.
        Unser Auftraggeber ist in seiner Branche führend und bietet eine Direktanstellung oder Übernahme.
        """
    ),
    "university": lines(
        """
        Die Universität {place} ist mit {number} Studierenden eine der forschungsstarken Hochschulen des Landes.
        Die Fachhochschule {place} bildet in Technik, Wirtschaft, Gesundheit und Gestaltung aus.
        Das Forschungsinstitut verbindet Grundlagenforschung und Anwendung und arbeitet mit Partnern weltweit.
        Unser Schulhaus in {place} ist ein Ort, an dem Kinder und Erwachsene gern lernen und arbeiten.
        """
    ),
    "industry": lines(
        """
        Die {company} entwickelt, fertigt und vertreibt Anlagen für Kunden auf allen Kontinenten. An unserem Standort in {place} arbeiten {number} Menschen.
        Wir sind ein international tätiges Industrieunternehmen und in unserer Nische Weltmarktführer.
        Als Zulieferer der Automobil- und Maschinenbranche setzen wir auf Qualität und kurze Wege.
        {company} produziert Lebensmittel, die man überall kennt, in modernen Werken in {place}.
        Als Unternehmen der Pharma- und Chemiebranche tragen wir mit unseren Produkten zur Gesundheit vieler Menschen bei.
        """
    ),
    "it": lines(
        """
        {company} ist ein Softwarehaus mit {small} Köpfen, kurzen Entscheidungswegen und vielen Ideen.
        Wir sind ein Start-up aus {place} und digitalisieren eine ganze Branche.
        Als IT-Dienstleister betreuen wir Firmen, Schulen und Behörden vom Arbeitsplatz bis zum Rechenzentrum.
        """
    ),
    "finance": lines(
        """
        Unsere Bank ist in der Region {place} verankert und gehört ihren Mitgliedern. {small} Mitarbeitende kümmern sich um Privat- und Firmenkunden.
        Als Versicherungsgesellschaft begleiten wir Menschen und Firmen durch alle Lebenslagen.
        Wir sind eine Treuhand- und Beratungsgesellschaft mit Standorten in {place} und Umgebung.
        Unsere Kanzlei berät Unternehmen und Private in rechtlichen und steuerlichen Fragen.
        """
    ),
    "hotel": lines(
        """
        Unser Hotel mit {small} Zimmern liegt mitten in {place} und empfängt Gäste aus aller Welt.
        Im Restaurant, in der Bar und bei Anlässen verwöhnen wir unsere Gäste das ganze Jahr.
        Die {company} betreibt Kantinen, Mensen und Cafés an vielen Standorten.
        """
    ),
    "transport": lines(
        """
        Als Transport- und Logistikunternehmen sind wir mit {small} Fahrzeugen täglich unterwegs.
        Unsere Verkehrsbetriebe bringen in {place} und Umgebung jeden Tag viele Menschen sicher ans Ziel.
        """
    ),
}

PRAISE = lines(
    """
    Unser motiviertes Team freut sich auf Sie.
    Bei uns zählen Teamgeist, Respekt und ein offenes Wort.
    Wir wachsen weiter und freuen uns auf neue Gesichter.
    Haben Sie Lust, etwas zu bewegen?
    Möchtest du mit uns wachsen und Verantwortung übernehmen?
    Unsere Mitarbeitenden sind unser wichtigstes Gut.
    Vielfalt und Chancengleichheit gehören zu unserer Kultur.
    Wir bieten Ihnen eine sinnvolle Aufgabe in einem spannenden Umfeld.
    Eine abwechslungsreiche Tätigkeit wartet auf Sie.
    Sie suchen eine neue Herausforderung? Dann sind Sie bei uns richtig!
    """
)
COLLEAGUES = lines(
    """
    Sie arbeiten eng mit {colleague} und {colleague} zusammen.
    Zu unserem Team gehören {colleague}, {colleague} und {colleague}.
    Bei uns arbeiten unter anderem {colleague} und {colleague}.
    Unterstützt werden Sie von {colleague} und {colleague}.
    In unserem Haus treffen Sie auf Menschen vieler Berufe, vom {colleague} bis zum {colleague}.
    """
)
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
TASK_HEADS = lines(
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
PROFILE_HEADS = lines(
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
OFFER_HEADS = lines(
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
PERSON = lines(
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
NAMES = lines(
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
