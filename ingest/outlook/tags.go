package outlook

// Properties by their canonical names (MS-OXPROPS).
const (
	pidTagMessageClass            tag = 0x001A001F
	pidTagImportance              tag = 0x00170003
	pidTagPriority                tag = 0x00260003
	pidTagSensitivity             tag = 0x00360003
	pidTagSubject                 tag = 0x0037001F
	pidTagSubjectPrefix           tag = 0x003D001F
	pidTagNormalizedSubject       tag = 0x0E1D001F
	pidTagConversationTopic       tag = 0x0070001F
	pidTagConversationIndex       tag = 0x00710102
	pidTagConversationTracking    tag = 0x3016000B
	pidTagClientSubmitTime        tag = 0x00390040
	pidTagMessageDeliveryTime     tag = 0x0E060040
	pidTagCreationTime            tag = 0x30070040
	pidTagLastModificationTime    tag = 0x30080040
	pidTagInternetMessageID       tag = 0x1035001F
	pidTagInReplyToID             tag = 0x1042001F
	pidTagInternetReferences      tag = 0x1039001F
	pidTagTransportMessageHeaders tag = 0x007D001F
	pidTagMessageFlags            tag = 0x0E070003
	pidTagHasAttachments          tag = 0x0E1B000B
	pidTagAccess                  tag = 0x0FF40003
	pidTagAccessLevel             tag = 0x0FF70003
	pidTagStoreSupportMask        tag = 0x340D0003
	pidTagIconIndex               tag = 0x10800003
	pidTagDisplayTo               tag = 0x0E04001F
	pidTagDisplayCc               tag = 0x0E03001F
	pidTagDisplayBcc              tag = 0x0E02001F
	pidTagMessageRecipients       tag = 0x0E12000D
	pidTagReplyRecipientEntries   tag = 0x004F0102
	pidTagReplyRecipientNames     tag = 0x0050001F
	pidTagReadReceiptRequested    tag = 0x0029000B
	pidTagDeliveryReportRequested tag = 0x0023000B
	pidTagExpiryTime              tag = 0x00150040
	pidTagReplyTime               tag = 0x00300040
	pidTagAutoResponseSuppress    tag = 0x3FDF0003
	pidTagMessageLocaleID         tag = 0x3FF10003
	pidTagListHelp                tag = 0x1043001F
	pidTagListSubscribe           tag = 0x1044001F
	pidTagListUnsubscribe         tag = 0x1045001F
	pidTagFlagStatus              tag = 0x10900003
	pidTagToDoItemFlags           tag = 0x0E2B0003
	pidTagPurportedSenderDomain   tag = 0x4083001F
	pidTagSenderIDStatus          tag = 0x40790003
	pidTagSpamConfidenceLevel     tag = 0x40760003

	pidTagReportingMessageTransferAgent tag = 0x6820001F
	pidTagReportText                    tag = 0x1001001F
	pidTagReportTime                    tag = 0x00320040
	pidTagReceiptTime                   tag = 0x002A0040
	pidTagParentKey                     tag = 0x00250102
	pidTagOriginalMessageID             tag = 0x1046001F
	pidTagOriginalSubject               tag = 0x0049001F
	pidTagOriginalSubmitTime            tag = 0x004E0040
	pidTagOriginalDeliveryTime          tag = 0x00550040
	pidTagOriginalDisplayTo             tag = 0x0074001F
	pidTagOriginalDisplayCc             tag = 0x0073001F
	pidTagOriginalDisplayBcc            tag = 0x0072001F

	pidTagRemoteMessageTransferAgent  tag = 0x0C21001F
	pidTagSupplementaryInfo           tag = 0x0C1B001F
	pidTagDeliverTime                 tag = 0x00100040
	pidTagNonDeliveryReportStatusCode tag = 0x0C200003
	pidTagNonDeliveryReportDiagCode   tag = 0x0C050003
	pidTagNonDeliveryReportReasonCode tag = 0x0C040003

	pidTagBody                tag = 0x1000001F
	pidTagHTML                tag = 0x10130102
	pidTagInternetCodepage    tag = 0x3FDE0003
	pidTagNativeBody          tag = 0x10160003
	pidTagRtfCompressed       tag = 0x10090102
	pidTagRtfInSync           tag = 0x0E1F000B
	pidTagBodyContentID       tag = 0x1015001F
	pidTagBodyContentLocation tag = 0x1014001F

	pidTagRowID         tag = 0x30000003
	pidTagDisplayName   tag = 0x3001001F
	pidTagAddressType   tag = 0x3002001F
	pidTagEmailAddress  tag = 0x3003001F
	pidTagSMTPAddress   tag = 0x39FE001F
	pidTagSearchKey     tag = 0x300B0102
	pidTagEntryID       tag = 0x0FFF0102
	pidTagInstanceKey   tag = 0x0FF60102
	pidTagObjectType    tag = 0x0FFE0003
	pidTagDisplayType   tag = 0x39000003
	pidTagRecipientType tag = 0x0C150003

	pidTagAttachMethod          tag = 0x37050003
	pidTagAttachDataBinary      tag = 0x37010102
	pidTagAttachDataObject      tag = 0x3701000D
	pidTagAttachSize            tag = 0x0E200003
	pidTagAttachNumber          tag = 0x0E210003
	pidTagRenderingPosition     tag = 0x370B0003
	pidTagAttachLongFilename    tag = 0x3707001F
	pidTagAttachFilename        tag = 0x3704001F
	pidTagAttachExtension       tag = 0x3703001F
	pidTagAttachMimeTag         tag = 0x370E001F
	pidTagAttachEncoding        tag = 0x37020102
	pidTagAttachTag             tag = 0x370A0102
	pidTagAttachAdditionalInfo  tag = 0x370F0102
	pidTagTextAttachmentCharset tag = 0x371B001F
	pidTagAttachContentID       tag = 0x3712001F
	pidTagAttachContentLocation tag = 0x3713001F
	pidTagAttachContentBase     tag = 0x3711001F
	pidTagAttachFlags           tag = 0x37140003
	pidTagAttachmentHidden      tag = 0x7FFE000B
	pidTagAttachmentFlags       tag = 0x7FFD0003
	pidTagAttachPayloadClass    tag = 0x371A001F
	pidTagAttachPayloadProvider tag = 0x3719001F
)

// group is the properties of a person (MS-OXCMAIL 2.6).
type group struct{ name, kind, email, smtp, entry, search tag }

// Groups of properties (MS-OXCMAIL 2.6.1 to 2.6.5).
var (
	readReceipt          = group{0x402B001F, 0x4029001F, 0x402A001F, 0x5D05001F, 0x00460102, 0x00530102}
	receivedBy           = group{0x0040001F, 0x0075001F, 0x0076001F, 0x5D07001F, 0x003F0102, 0x00510102}
	receivedRepresenting = group{0x0044001F, 0x0077001F, 0x0078001F, 0x5D08001F, 0x00430102, 0x00520102}
	sender               = group{0x0C1A001F, 0x0C1E001F, 0x0C1F001F, 0x5D01001F, 0x0C190102, 0x0C1D0102}
	sentRepresenting     = group{0x0042001F, 0x0064001F, 0x0065001F, 0x5D02001F, 0x00410102, 0x003B0102}
)

// Groups of properties of the message that a report is about, which have no
// address of their own for SMTP (MS-OXOMSG 2.2.2.6 to 2.2.2.15).
var (
	originalSender           = group{name: 0x005A001F, kind: 0x0066001F, email: 0x0067001F, entry: 0x005B0102, search: 0x005C0102}
	originalSentRepresenting = group{name: 0x005D001F, kind: 0x0068001F, email: 0x0069001F, entry: 0x005E0102, search: 0x005F0102}
)

// Named properties.
var (
	pidLidFlagRequest      = propertyName{set: psetidCommon, lid: 0x8530}
	pidLidToDoTitle        = propertyName{set: psetidCommon, lid: 0x85A4}
	pidLidSmartNoAttach    = propertyName{set: psetidCommon, lid: 0x8514}
	pidLidTaskStatus       = propertyName{set: psetidTask, lid: 0x8101}
	pidLidPercentComplete  = propertyName{set: psetidTask, lid: 0x8102}
	pidLidTaskComplete     = propertyName{set: psetidTask, lid: 0x811C}
	pidLidInfoPathFormName = propertyName{set: psetidCommon, lid: 0x85B1}
	pidNameKeywords        = propertyName{set: psPublicStrings, text: "Keywords"}
	pidNameContentType     = propertyName{set: psInternetHeaders, text: "content-type"}
	pidNameMacContentType  = propertyName{set: psetidAttachment, text: "AttachmentMacContentType"}
	pidNameMacInfo         = propertyName{set: psetidAttachment, text: "AttachmentMacInfo"}
)

// Methods of attachments (MS-OXCMSG 2.2.2.9).
const (
	byValue         = 1
	embeddedMessage = 5
	oleStorage      = 6
)

// Flags of messages (MS-OXCMSG 2.2.1.6). mfUnsent (8) is never set: Outlook would
// open the message to be edited.
const (
	mfRead       = 0x01
	mfUnmodified = 0x02
	mfHasAttach  = 0x10
)
