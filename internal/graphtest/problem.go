package graphtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// problem is a refusal of Graph.
type problem struct {
	status        int
	code, message string
	// illegal: no client that reads the documentation sends such a request.
	illegal bool
	header  http.Header
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.status, p.code, p.message) }

// refuse is a problem that a sound request may meet.
func refuse(status int, code, format string, args ...any) *problem {
	return &problem{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// illegal is a problem of a request that should not have been sent.
func illegal(status int, code, format string, args ...any) *problem {
	p := refuse(status, code, format, args...)
	p.illegal = true
	return p
}

func badRequest(format string, args ...any) *problem {
	return illegal(http.StatusBadRequest, "BadRequest", format, args...)
}

// The refusals that have one wording.
func itemNotFound() *problem {
	return refuse(http.StatusNotFound, "ErrorItemNotFound", "The specified object was not found in the store.")
}

func folderNotFound() *problem {
	return refuse(http.StatusNotFound, "ErrorFolderNotFound", "The specified folder could not be found in the store.")
}

func accessDenied() *problem {
	return refuse(http.StatusForbidden, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
}

// errorBody is the body of a refusal, in Graph's shape.
func errorBody(code, message, requestID, clientID string, now time.Time) []byte {
	body, err := json.Marshal(map[string]any{"error": map[string]any{
		"code": code, "message": message,
		"innerError": map[string]any{
			"date": now.UTC().Format("2006-01-02T15:04:05"), "request-id": requestID, "client-request-id": clientID,
		},
	}})
	if err != nil {
		panic("graphtest: " + err.Error()) // strings can be encoded
	}
	return body
}
