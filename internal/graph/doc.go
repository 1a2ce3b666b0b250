// Package graph signs in at Microsoft Entra ID and speaks Microsoft Graph v1.0
// for the mail in Exchange Online. It is the one importer of the Graph SDK.
//
// The SDK writes the requests: its builders are generated from the schema that
// Microsoft publishes, so that paths, parameters and bodies are legal by
// construction. It neither sends them nor reads the answers. What is sent goes
// through one fixed chain ([Mailbox.send]): token, turn, deadline, and no retry
// that the chain does not know of; what is answered is read into plain structs,
// leniently, and bodies are streamed.
//
// [Clients] is shared by everything in the process that reads mail: it keeps one
// token cache for each credential and service (other than Graph: [Client.Resource],
// for IMAP and POP3), and one budget of requests for each
// application and mailbox, which is how Exchange Online counts.
//
// Applications sign in by the library of Microsoft; a person does by
// [Client.SignInPerson], and what that brings is in the vault of the settings.
//
// Errors are one of four: [*SignInError], [*ThrottledError], [*Error] (an answer
// of Graph), [*ConnError] (no answer). None holds a secret or a token.
package graph
