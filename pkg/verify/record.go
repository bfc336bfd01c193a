package verify

import "net/http"

// Record is the exchange of a request and its answer as a report shows it, for
// packages that send requests of their own: secrets are blanked, the queries of
// places that a client is sent to are left out, and bodies are cut. sent and
// received are the bodies; resp is nil where there was no answer, err says why, or
// why it is not whole.
func Record(req *http.Request, sent []byte, resp *http.Response, received []byte, err error) Exchange {
	e := Exchange{
		Method: req.Method, URL: req.URL.String(), RequestHeader: redacted(req.Header),
		RequestBody: shown(sent), RequestLength: int64(len(sent)),
	}
	if req.URL.Query().Has("X-Amz-Signature") {
		e.URL = withoutQuery(e.URL)
	}
	if resp != nil {
		e.Status, e.ResponseHeader = resp.StatusCode, redacted(resp.Header)
		e.ResponseBody, e.ResponseLength = shown(received), int64(len(received))
		if location := e.ResponseHeader.Get("Location"); location != "" {
			e.ResponseHeader.Set("Location", withoutQuery(location))
		}
	}
	if err != nil {
		e.Error = err.Error()
	}
	return e
}
