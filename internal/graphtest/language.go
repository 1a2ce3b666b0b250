package graphtest

// wellKnown are the folders that a mailbox has and the name by which Graph finds
// each, whatever it is called, with the name of the folder above it.
var wellKnown = []struct {
	name, above string
	hidden      bool
	english     string
}{
	{"root", "", true, "Root"},
	{"msgfolderroot", "root", false, "Top of Information Store"},
	{"recoverableitemsdeletions", "root", true, "Deletions"},
	{"searchfolders", "root", true, "Finder"},
	{"archive", "msgfolderroot", false, "Archive"},
	{"clutter", "msgfolderroot", true, "Clutter"},
	{"conversationhistory", "msgfolderroot", false, "Conversation History"},
	{"deleteditems", "msgfolderroot", false, "Deleted Items"},
	{"drafts", "msgfolderroot", false, "Drafts"},
	{"inbox", "msgfolderroot", false, "Inbox"},
	{"junkemail", "msgfolderroot", false, "Junk Email"},
	{"outbox", "msgfolderroot", false, "Outbox"},
	{"sentitems", "msgfolderroot", false, "Sent Items"},
	{"syncissues", "msgfolderroot", false, "Sync Issues"},
	{"conflicts", "syncissues", false, "Conflicts"},
	{"localfailures", "syncissues", false, "Local Failures"},
	{"serverfailures", "syncissues", false, "Server Failures"},
}

// onlyWellKnown are names that no mailbox here has a folder for.
var onlyWellKnown = []string{"scheduled"}

// localized are the display names of well-known folders in mailboxes of other
// languages.
var localized = map[string]map[string]string{
	"fi": {
		"archive": "Arkisto", "conversationhistory": "Keskusteluhistoria", "deleteditems": "Poistetut", "drafts": "Luonnokset",
		"inbox": "Saapuneet", "junkemail": "Roskaposti", "outbox": "Lähtevät", "sentitems": "Lähetetyt",
		"syncissues": "Synkronointiongelmat", "conflicts": "Ristiriidat", "localfailures": "Paikalliset virheet", "serverfailures": "Palvelimen virheet",
	},
	"ja": {
		"archive": "アーカイブ", "conversationhistory": "会話の履歴", "deleteditems": "削除済みアイテム", "drafts": "下書き",
		"inbox": "受信トレイ", "junkemail": "迷惑メール", "outbox": "送信トレイ", "sentitems": "送信済みアイテム",
		"syncissues": "同期の失敗", "conflicts": "競合", "localfailures": "ローカルの失敗", "serverfailures": "サーバーの失敗",
	},
	"de": {
		"archive": "Archiv", "conversationhistory": "Aufgezeichnete Unterhaltungen", "deleteditems": "Gelöschte Elemente", "drafts": "Entwürfe",
		"inbox": "Posteingang", "junkemail": "Junk-E-Mail", "outbox": "Postausgang", "sentitems": "Gesendete Elemente",
		"syncissues": "Synchronisierungsprobleme", "conflicts": "Konflikte", "localfailures": "Lokale Fehler", "serverfailures": "Serverfehler",
	},
}
