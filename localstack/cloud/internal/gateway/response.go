package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// response is an HTTP response.
type response struct {
	status int
	header http.Header
	body   []byte
}

// errBadResponse becomes 500: API Gateway does not accept the function's response.
var errBadResponse = errors.New("gateway: the function's response is malformed")

// parseResponse reads a function's response in payload format 2.0. A response without
// a status code is the body of a 200.
func parseResponse(payload []byte) (response, error) {
	var shape struct {
		StatusCode      any            `json:"statusCode"`
		Headers         map[string]any `json:"headers"`
		Cookies         []string       `json:"cookies"`
		Body            any            `json:"body"`
		IsBase64Encoded bool           `json:"isBase64Encoded"`
	}
	var probe map[string]json.RawMessage
	if err := json.Unmarshal(payload, &probe); err != nil || probe["statusCode"] == nil {
		return inferred(payload), nil
	}
	if err := json.Unmarshal(payload, &shape); err != nil {
		return response{}, fmt.Errorf("%w: %w", errBadResponse, err)
	}
	out := response{header: http.Header{}}
	status, err := strconv.Atoi(fmt.Sprint(shape.StatusCode))
	if err != nil || status < 100 || status > 599 {
		return response{}, fmt.Errorf("%w: the status is %v", errBadResponse, shape.StatusCode)
	}
	out.status = status
	for name, value := range shape.Headers {
		switch value.(type) {
		case string, bool, float64:
			out.header.Set(name, fmt.Sprint(value))
		default:
			return response{}, fmt.Errorf("%w: the header %s is not a string", errBadResponse, name)
		}
	}
	for _, cookie := range shape.Cookies {
		out.header.Add("Set-Cookie", cookie)
	}
	switch body := shape.Body.(type) {
	case nil:
	case string:
		out.body = []byte(body)
	default:
		return response{}, fmt.Errorf("%w: the body is not a string", errBadResponse)
	}
	if shape.IsBase64Encoded {
		if out.body, err = base64.StdEncoding.DecodeString(string(out.body)); err != nil {
			return response{}, fmt.Errorf("%w: %w", errBadResponse, err)
		}
	}
	if out.header.Get("Content-Type") == "" {
		out.header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	return out, nil
}

func inferred(payload []byte) response {
	body := payload
	var text string
	if json.Unmarshal(payload, &text) == nil {
		body = []byte(text)
	}
	return response{
		status: http.StatusOK, body: bytes.Clone(body),
		header: http.Header{"Content-Type": {"application/json"}},
	}
}

// failure returns an error response of API Gateway, which cannot be customized.
func failure(status int, message string) response {
	body, err := json.Marshal(map[string]string{"message": message})
	if err != nil {
		panic(err) // a map of strings always has JSON
	}
	return response{status: status, body: body, header: http.Header{"Content-Type": {"application/json"}}}
}

// finish changes the headers of a response as API Gateway does. Its own error responses
// have no mappings.
func (g *Gateway) finish(out response, mappings map[string][]mapping, method, id string) response {
	if g.options.RenameChallenge {
		if values := out.header["Www-Authenticate"]; values != nil {
			out.header["X-Amzn-Remapped-Www-Authenticate"] = values
			delete(out.header, "Www-Authenticate")
		}
	}
	length := out.header.Get("Content-Length")
	for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Date", "Content-Length"} {
		delete(out.header, name)
	}
	out = apply(mappings, out)
	out.header.Set("Apigw-Requestid", id)
	computed := strconv.Itoa(len(out.body))
	switch {
	case out.status < 200 || out.status == http.StatusNoContent || out.status == http.StatusNotModified:
		out.body = nil
	case method == http.MethodHead && g.options.Head == HeadHandler && validLength(length):
		out.header.Set("Content-Length", length)
	default:
		out.header.Set("Content-Length", computed)
	}
	return out
}

func validLength(text string) bool {
	n, err := strconv.ParseInt(text, 10, 64)
	return err == nil && n >= 0
}
