// Invented example ads: three in German, one of them in HTML as on a job board, and one in English.

export const EXAMPLES = {
  nurse: {
    format: "text",
    title: "Pflegefachkraft (m/w/d) für die Innere Medizin",
    text: `Unser Kreiskrankenhaus sucht zum nächstmöglichen Zeitpunkt Verstärkung für die Station 3 der Inneren Medizin, in Vollzeit oder Teilzeit.

Ihre Aufgaben
• Sie planen die Pflege, führen sie durch und dokumentieren sie.
• Sie überwachen Vitalzeichen, verabreichen Medikamente und begleiten Visiten.
• Sie beraten Patientinnen, Patienten und Angehörige.

Ihr Profil
• Abgeschlossene dreijährige Ausbildung als Pflegefachfrau, Pflegefachmann oder in der Gesundheits- und Krankenpflege
• Bereitschaft zum Dienst in drei Schichten
• Freude an der Arbeit im Team

Wir bieten Vergütung nach Tarif, 30 Tage Urlaub und eine strukturierte Einarbeitung.`,
  },
  bakery: {
    format: "text",
    title: "Verkäufer (m/w/d) in der Bäckerei",
    text: `Für unsere Filiale am Markt suchen wir ein freundliches Gesicht hinter der Theke, 25 bis 30 Stunden in der Woche.

Das erwartet Sie
• Brot, Brötchen und Kuchen verkaufen und unsere Gäste beraten
• Snacks belegen, Kaffee zubereiten und Waren appetitlich anrichten
• Kasse führen und abends die Filiale abschließen

Das bringen Sie mit
• Spaß am Umgang mit Menschen
• Eine Ausbildung im Verkauf ist schön, aber kein Muss: Wir lernen Sie gern an, auch im Quereinstieg.
• Sie stehen früh auf, auch an einem Samstag im Monat.`,
  },
  electrician: {
    format: "html",
    title: "Elektroniker (m/w/d) f&uuml;r Betriebstechnik",
    text: `<p>Die <strong>Lindenau Werke</strong> fertigen Getriebe f&uuml;r Windr&auml;der. Damit alles l&auml;uft, suchen wir Sie.</p>
<h3>Ihre Aufgaben</h3>
<ul>
  <li>St&ouml;rungen an Schaltschr&auml;nken und Motoren suchen &amp; beheben</li>
  <li>Steuerungen pr&uuml;fen, warten und erweitern</li>
  <li>Bereitschaftsdienst, etwa jede f&uuml;nfte Woche</li>
</ul>
<h3>Ihr Profil</h3>
<ul>
  <li>Abgeschlossene Ausbildung in einem elektrotechnischen Beruf</li>
  <li>Gern Weiterbildung zum Techniker, aber keine Bedingung</li>
  <li>F&uuml;hrerschein der Klasse B</li>
</ul>
<p>Wir zahlen nach Tarif, dazu 30 Tage Urlaub.</p>
<script>track("job-2047")</script>`,
  },
  analyst: {
    format: "text",
    title: "Data analyst (f/m/d), sales reporting",
    text: `Lakeside Outdoor sells tents and boats in eleven countries. Our reporting team turns what happens in shops and online into numbers that people act on.

What you will do
- Build dashboards in SQL and Python, and keep the pipelines behind them running
- Answer questions from purchasing and marketing with analyses they can check
- Improve the quality of our data together with the software developers

What you bring
- A master's degree in computer science, statistics or a related field
- Several years of work with databases and version control
- Fluent English; German is welcome

We offer flexible hours, remote work and a training budget of 1,500 euros a year.`,
  },
};
