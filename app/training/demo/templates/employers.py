# ruff: noqa: E501 (one sentence a line, however long)
"""Invented employers: names, places, and sentences with which they introduce themselves."""

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

INTRODUCTIONS: dict[str, tuple[str, ...]] = {
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
