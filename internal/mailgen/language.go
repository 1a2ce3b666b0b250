package mailgen

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// matter is what a mail is about.
type matter struct {
	prefix string // of its reference
	folder string
	sender string // a role, never a person
	local  string // of the sender's address
	domain string
}

var matters = [...]matter{
	{"ORD", "Inbox/Orders", "Orders Desk", "orders", "shop.example.com"},
	{"INV", "Inbox/Invoices", "Accounts", "accounts", "supplier.example.org"},
	{"CLM", "Inbox/Claims", "Claims Department", "claims", "insurance.example.net"},
}

// language is the mail of one language in the charset that such mail comes in.
type language struct {
	charset  string
	encoding encoding.Encoding // nil: ASCII or UTF-8
	transfer []string          // the transfer encodings that its text comes in
	wordsInQ bool              // encoded words in Q rather than B
	subjects [len(matters)]string
	greeting string
	lines    []string
	closing  string
	note     string // what a second attachment is called
}

var languages = [...]language{
	{
		charset: "us-ascii", transfer: []string{"7bit", "quoted-printable"}, wordsInQ: true,
		subjects: [...]string{"Purchase order %s", "Invoice %s for your records", "Claim %s: water damage in the archive"},
		greeting: "Dear Sir or Madam,",
		lines: []string{
			"please find the details below.",
			"Kindly confirm receipt, and quote the reference in every reply.",
			"Payment is due within 30 days without deduction.",
			"The goods leave our warehouse on the next working day.",
			"Should anything be missing, let us know within one week.",
			"An expert will inspect the damage; please keep the damaged goods until then.",
		},
		closing: "Yours faithfully",
		note:    "Delivery note",
	},
	{
		charset: "iso-8859-1", encoding: charmap.ISO8859_1, transfer: []string{"quoted-printable", "8bit"}, wordsInQ: true,
		subjects: [...]string{"Bestellung %s über Büromöbel", "Rechnung %s, fällig in 30 Tagen", "Schadenmeldung %s: Rohrbruch im Lager München"},
		greeting: "Sehr geehrte Damen und Herren,",
		lines: []string{
			"anbei erhalten Sie die gewünschten Unterlagen.",
			"Bitte bestätigen Sie uns den Eingang und geben Sie bei Rückfragen die Nummer an.",
			"Der Betrag ist innerhalb von 30 Tagen ohne Abzug zu überweisen.",
			"Die Ware verlässt unser Lager am nächsten Werktag.",
			"Größere Mengen liefern wir in Teilsendungen.",
		},
		closing: "Mit freundlichen Grüßen",
		note:    "Lieferschein mit Prüfbericht",
	},
	{
		charset: "utf-8", transfer: []string{"quoted-printable", "base64", "8bit"}, wordsInQ: true,
		subjects: [...]string{"Commande %s confirmée – livraison à Besançon", "Facture %s : échéance à 30 jours, montant en €", "Réclamation %s – matériel endommagé à la réception"},
		greeting: "Madame, Monsieur,",
		lines: []string{
			"veuillez trouver ci-dessous le détail de notre envoi.",
			"Merci d’en accuser réception et de rappeler la référence dans toute réponse.",
			"Le règlement est attendu sous 30 jours, sans escompte.",
			"La marchandise quittera notre entrepôt dès le prochain jour ouvré.",
			"L’expert passera constater les dégâts ; conservez les pièces abîmées.",
		},
		closing: "Veuillez agréer nos salutations distinguées",
		note:    "Bon de livraison signé",
	},
	{
		charset: "windows-1252", encoding: charmap.Windows1252, transfer: []string{"quoted-printable", "8bit"}, wordsInQ: true,
		subjects: [...]string{"Pedido n.º %s – envío urgente", "Factura %s (vence el día 30, importe en €)", "Reclamación %s – mercancía dañada"},
		greeting: "Estimados señores:",
		lines: []string{
			"les adjuntamos la documentación solicitada.",
			"Rogamos confirmen la recepción e indiquen la referencia en su respuesta.",
			"El pago vence a los 30 días, sin descuento.",
			"La mercancía saldrá de nuestro almacén el próximo día hábil.",
		},
		closing: "Atentamente",
		note:    "Albarán",
	},
	{
		charset: "iso-8859-2", encoding: charmap.ISO8859_2, transfer: []string{"quoted-printable", "8bit"}, wordsInQ: true,
		subjects: [...]string{"Zamówienie %s, proszę o potwierdzenie", "Faktura VAT %s z terminem płatności", "Reklamacja %s: uszkodzona przesyłka, żądanie wymiany"},
		greeting: "Szanowni Państwo,",
		lines: []string{
			"w załączeniu przesyłamy dokumenty.",
			"Prosimy o potwierdzenie odbioru i podanie numeru w odpowiedzi.",
			"Płatność w ciągu 30 dni, bez potrąceń.",
			"Towar opuści nasz magazyn w następny dzień roboczy.",
		},
		closing: "Z poważaniem",
		note:    "Dowód dostawy",
	},
	{
		charset: "koi8-r", encoding: charmap.KOI8R, transfer: []string{"8bit", "base64"},
		subjects: [...]string{"Заказ %s на поставку оборудования", "Счёт %s на оплату, срок 30 дней", "Претензия %s по качеству поставленного товара"},
		greeting: "Уважаемые коллеги!",
		lines: []string{
			"Направляем вам документы по указанному номеру.",
			"Просим подтвердить получение и указать номер в ответе.",
			"Оплата в течение 30 дней без удержаний.",
			"Товар будет отгружен со склада на следующий рабочий день.",
		},
		closing: "С уважением",
		note:    "Накладная",
	},
	{
		charset: "iso-8859-7", encoding: charmap.ISO8859_7, transfer: []string{"base64", "quoted-printable"},
		subjects: [...]string{"Παραγγελία %s προς επιβεβαίωση", "Τιμολόγιο %s, πληρωτέο σε 30 ημέρες", "Αίτηση αποζημίωσης %s για ζημιές"},
		greeting: "Αξιότιμοι κύριοι,",
		lines: []string{
			"σας αποστέλλουμε τα έγγραφα που ζητήσατε.",
			"Παρακαλούμε επιβεβαιώστε τη λήψη και αναφέρετε τον αριθμό.",
			"Η πληρωμή οφείλεται εντός 30 ημερών.",
		},
		closing: "Με εκτίμηση",
		note:    "Δελτίο αποστολής",
	},
	{
		charset: "iso-2022-jp", encoding: japanese.ISO2022JP, transfer: []string{"7bit"},
		subjects: [...]string{"ご注文 %s の確認をお願いいたします", "請求書 %s をお送りいたします", "事故報告 %s: 倉庫の水漏れについて"},
		greeting: "ご担当者様",
		lines: []string{
			"いつもお世話になっております。",
			"書類をお送りいたしますので、ご確認ください。",
			"お支払いは三十日以内にお願いいたします。",
			"商品は翌営業日に倉庫から出荷いたします。",
		},
		closing: "よろしくお願いいたします",
		note:    "納品書",
	},
	{
		charset: "gb2312", encoding: simplifiedchinese.GBK, transfer: []string{"base64", "8bit"},
		subjects: [...]string{"订单 %s 请确认", "发票 %s 三十天内付款", "索赔 %s 货物运输途中受损"},
		greeting: "尊敬的客户：",
		lines: []string{
			"随函附上所需文件，请查收。",
			"请确认收到，并在回复中注明编号。",
			"货款请于三十天内付清。",
			"货物将于下一个工作日出库。",
		},
		closing: "此致敬礼",
		note:    "送货单",
	},
}

// encode returns s, which the language's charset can express, in that charset.
func (l *language) encode(s string) string {
	if l.encoding == nil {
		return s
	}
	encoded, err := l.encoding.NewEncoder().String(s)
	if err != nil {
		panic(fmt.Sprintf("mailgen: %q in %s: %v", s, l.charset, err)) // the tables above are wrong
	}
	return encoded
}

// maxEncodedWord is the longest that an encoded word may be on the first line of
// a subject (RFC 2047 2).
const maxEncodedWord = 76 - len("Subject: ")

// header returns s for a header field, as encoded words unless it is ASCII. No
// character is divided among two words, and each word returns to the initial
// state of its charset.
func (l *language) header(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) {
		return s
	}
	var words []string
	word, chunk := "", ""
	for _, r := range s {
		longer := l.word(chunk + string(r))
		if len(longer) > maxEncodedWord {
			words = append(words, word)
			chunk = ""
			longer = l.word(string(r))
		}
		word, chunk = longer, chunk+string(r)
	}
	return strings.Join(append(words, word), " ")
}

func (l *language) word(s string) string {
	s = l.encode(s)
	if !l.wordsInQ {
		return "=?" + l.charset + "?B?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
	}
	var q strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c == ' ':
			q.WriteByte('_')
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			q.WriteByte(c)
		default:
			fmt.Fprintf(&q, "=%02X", c)
		}
	}
	return "=?" + l.charset + "?Q?" + q.String() + "?="
}
