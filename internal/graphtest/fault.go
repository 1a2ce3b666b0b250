package graphtest

import (
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// FaultKind is something that goes wrong with a request.
type FaultKind string

// The faults. Up to FaultHang the request has no effect; with the others it does
// what it is to do, and something is wrong with the answer.
const (
	FaultThrottle      FaultKind = "429 with Retry-After in seconds"
	FaultThrottleDate  FaultKind = "429 with Retry-After as a date"
	FaultThrottleBare  FaultKind = "429 without Retry-After"
	FaultUnavailable   FaultKind = "503"
	FaultBusy          FaultKind = "503 with Retry-After"
	FaultBadGateway    FaultKind = "502 in HTML"
	FaultGatewayTime   FaultKind = "504"
	FaultInternal      FaultKind = "500"
	FaultUnauthorized  FaultKind = "401, the token is not valid any more"
	FaultGone          FaultKind = "410, the state of a delta is lost"
	FaultValue         FaultKind = "500, the message cannot be converted"
	FaultReset         FaultKind = "connection closed before an answer"
	FaultHang          FaultKind = "no answer"
	FaultLost          FaultKind = "done, and the connection closed before the answer"
	FaultLateGateway   FaultKind = "done, and answered with 504"
	FaultCut           FaultKind = "body cut"
	FaultStall         FaultKind = "body stalled"
	FaultTruncate      FaultKind = "body that ends early as if it were whole"
	FaultMangle        FaultKind = "body that is no JSON"
	FaultOdd           FaultKind = "odd JSON"
	FaultDuplicate     FaultKind = "entries of a page twice"
	FaultReplay        FaultKind = "page of a delta twice"
	FaultShuffle       FaultKind = "entries of a page in another order"
	FaultEmptyPage     FaultKind = "empty page with a link to the next"
	FaultEmptyResponse FaultKind = "200 without a body"
)

// Fault is a fault with its details.
type Fault struct {
	Kind FaultKind
	// RetryAfter is the time of a Retry-After: a second. Requests before it has
	// passed are refused as well.
	RetryAfter time.Duration
	// After is the number of bytes after which a body is cut, stalls or ends: half
	// of them.
	After int
	// Announced: the whole length stands in Content-Length.
	Announced bool
}

// AllFaults are all kinds of faults but those that never end by themselves
// (FaultHang, FaultStall) and those that nobody can tell from a sound answer
// (FaultTruncate).
func AllFaults() []FaultKind {
	return []FaultKind{
		FaultThrottle, FaultThrottleDate, FaultThrottleBare, FaultUnavailable, FaultBusy, FaultBadGateway, FaultGatewayTime,
		FaultInternal, FaultUnauthorized, FaultGone, FaultValue, FaultReset, FaultLost, FaultLateGateway, FaultCut,
		FaultMangle, FaultOdd, FaultDuplicate, FaultReplay, FaultShuffle, FaultEmptyPage,
		FaultEmptyResponse,
	}
}

// hasEffect reports whether the request is carried out nevertheless.
func (k FaultKind) hasEffect() bool {
	return slices.Contains([]FaultKind{FaultLost, FaultLateGateway, FaultCut, FaultStall, FaultTruncate, FaultMangle, FaultOdd,
		FaultDuplicate, FaultReplay, FaultShuffle, FaultEmptyPage, FaultEmptyResponse}, k)
}

// suits reports whether the fault can befall a request of the kind.
func (k FaultKind) suits(kind string) bool {
	switch k {
	case FaultGone, FaultEmptyPage, FaultReplay:
		return kind == "delta"
	case FaultValue:
		return kind == "value"
	case FaultOdd, FaultDuplicate, FaultShuffle:
		return kind == "delta" || kind == "messages"
	case FaultMangle:
		return !slices.Contains([]string{"value", "attachment value", "token", "discovery", "delete", "permanent delete"}, kind)
	case FaultEmptyResponse:
		return slices.Contains([]string{"delta", "messages", "folders", "folder", "message"}, kind)
	case FaultTruncate:
		return kind == "value" || kind == "attachment value"
	case FaultUnauthorized, FaultThrottleDate, FaultBusy:
		return kind != "token"
	case FaultLost, FaultLateGateway:
		return slices.Contains([]string{"update", "move", "delete", "permanent delete", "create folder"}, kind)
	}
	return true
}

func (f *Fault) spoilsBody() bool {
	return f.Kind == FaultCut || f.Kind == FaultStall || f.Kind == FaultTruncate
}

func (f *Fault) wait() time.Duration {
	if f.RetryAfter > 0 {
		return f.RetryAfter
	}
	return time.Second
}

const gatewayPage = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n" +
	"<hr><center>Microsoft-Azure-Application-Gateway/v2</center>\r\n</body>\r\n</html>\r\n"

func page(status int, contentType, text string) *response {
	return &response{status: status, contentType: contentType, stream: func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}}
}

// before plays a fault in place of the request. It returns nothing if the request
// is to be carried out.
func (c *call) before(f *Fault) (*response, *problem) {
	after := func(p *problem, value string) (*response, *problem) {
		p.header = http.Header{"Retry-After": {value}}
		c.s.tell(c.key, c.q, f.wait())
		return nil, p
	}
	busy := func() *problem {
		return refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "The server is busy. Please try again later.")
	}
	seconds := strconv.Itoa(max(1, int(f.wait().Round(time.Second)/time.Second)))
	tooMany := func() *problem {
		return refuse(http.StatusTooManyRequests, "TooManyRequests", "Too many requests.")
	}
	switch f.Kind {
	case FaultThrottle:
		return after(tooMany(), seconds)
	case FaultThrottleDate:
		// A date has no fraction: it is not earlier than meant.
		return after(tooMany(), c.s.now().Add(f.wait()+time.Second-1).UTC().Format(http.TimeFormat))
	case FaultThrottleBare:
		return nil, tooMany()
	case FaultBusy:
		return after(busy(), seconds)
	case FaultUnavailable:
		return nil, busy()
	case FaultBadGateway:
		return page(http.StatusBadGateway, "text/html", gatewayPage), nil
	case FaultGatewayTime:
		return page(http.StatusGatewayTimeout, "text/plain", ""), nil
	case FaultInternal:
		return nil, refuse(http.StatusInternalServerError, "ErrorInternalServerError", "An internal server error occurred. The operation failed.")
	case FaultUnauthorized:
		return nil, c.loseToken()
	case FaultGone:
		folder, p := c.pathFolder()
		if p != nil {
			return nil, p
		}
		folder.epoch++ // links stay lost
		return nil, syncStateLost(c.deltaURL(folder) + "?$deltatoken=")
	case FaultValue:
		return nil, conversionFailed()
	}
	return nil, nil
}

// after does to the answer what the fault says.
func (c *call) after(f *Fault, a *response) {
	body, _ := a.body.(map[string]any)
	value, _ := body["value"].([]any)
	switch f.Kind {
	case FaultLateGateway:
		*a = *page(http.StatusGatewayTimeout, "text/html", gatewayPage)
	case FaultMangle:
		if a.body != nil {
			*a = *page(a.status, jsonType, `{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata","value":[{"id":`)
		}
	case FaultEmptyResponse:
		*a = response{status: http.StatusOK}
	case FaultEmptyPage, FaultReplay:
		if c.again == "" {
			break
		}
		if f.Kind == FaultEmptyPage {
			body["value"] = []any{}
		}
		body["@odata.nextLink"] = c.again
		delete(body, "@odata.deltaLink")
	case FaultShuffle:
		rand.New(rand.NewPCG(uint64(len(value)), 1)).Shuffle(len(value), func(i, j int) { value[i], value[j] = value[j], value[i] })
	case FaultDuplicate:
		if len(value) > 0 {
			body["value"] = append(value, value[:(len(value)+1)/2]...)
		}
	case FaultOdd:
		for n, entity := range value {
			if m, ok := entity.(map[string]any); ok && n%2 == 0 {
				m["x-new@odata.type"], m["unheardOf"] = "#Collection(Int64)", map[string]any{"a": []any{nil, 1.5e300, map[string]any{}}}
				if _, ok := m["isRead"]; ok {
					m["isRead"] = strconv.FormatBool(m["isRead"] == true)
				}
				if _, ok := m["categories"]; ok {
					m["categories"] = nil
				}
				if _, ok := m["@odata.type"]; ok {
					m["@odata.type"] = "#microsoft.graph.messageOfTomorrow"
				}
			}
		}
		if body != nil {
			body["value"], body["@microsoft.graph.tips"] = append([]any{nil}, value...), "Use $select."
		}
	}
}
