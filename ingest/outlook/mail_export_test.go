package outlook

// FileName returns base and extension of a name of a file as Convert writes it.
var FileName = fileName

// OneLine returns a text with runs of white space as one blank.
var OneLine = oneLine

// IsOrganisational reports whether Convert leaves out a header field.
func IsOrganisational(name string) bool { return organisational(name) == 2 }

// OfBody has the header fields that a mail is written with anew.
var OfBody = ofBody
