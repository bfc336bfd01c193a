package faultproxy

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
	"time"
)

// Fault is the treatment of one call, on two axes: what reaches the store, and the answer to the
// caller. The zero Fault changes nothing.
type Fault struct {
	Send   Send
	Answer Answer
	// Delay comes before the request is sent to the store if Send is Slow, otherwise after.
	Delay time.Duration
	// Status, Code and Reasons are those of the answer Refusal. Reasons are the codes of a
	// TransactionCanceledException, one for each row.
	Status  int
	Code    string
	Reasons []string
}

// Send is the part of a call that reaches the store.
type Send int

// The ways to send a call.
const (
	Once   Send = iota
	Never       // the store does not see it
	Slow        // once, after Delay, even if the caller has left
	Twice       // two times, one after the other; the answer is that of the second
	Again       // once, and a copy when Release is called
	Later       // not now, but when Release is called
	Half        // the first half of the body, as if it were all
	Broken      // the first half of the body, then the connection ends
	OneRow      // a Query with the limit 1: a short page
)

// Answer is the answer to the caller.
type Answer int

// The answers.
const (
	Real        Answer = iota // that of the store
	Refusal                   // an error with Status and Code
	Cut                       // none: the connection is reset
	Short                     // the first half of the body, then the connection ends
	Unprocessed               // a BatchGetItem that has read no row
	Page                      // an HTML page with Status, as a load balancer sends
)

// refusal returns the error that S3 or DynamoDB would send.
func (f Fault) refusal(c Call) response {
	if !c.Dynamo() {
		body := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>`+"\n"+
			`<Error><Code>%s</Code><Message>injected</Message><RequestId>fault</RequestId></Error>`, f.Code)
		return response{f.Status, http.Header{"Content-Type": {"application/xml"}}, []byte(body)}
	}
	type reason struct{ Code, Message string }
	answer := struct {
		Type                string   `json:"__type"`
		Message             string   `json:"message"`
		CancellationReasons []reason `json:",omitempty"`
	}{Type: "com.amazonaws.dynamodb.v20120810#" + f.Code, Message: "injected"}
	for _, code := range f.Reasons {
		answer.CancellationReasons = append(answer.CancellationReasons, reason{Code: code})
	}
	body, _ := json.Marshal(answer) // strings only
	return dynamoResponse(f.Status, body)
}

func dynamoResponse(status int, body []byte) response {
	return response{status, http.Header{
		"Content-Type": {"application/x-amz-json-1.0"},
		"X-Amz-Crc32":  {strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10)},
	}, body}
}

func (f Fault) page() response {
	body := fmt.Sprintf("<html><body><h1>%d %s</h1></body></html>", f.Status, http.StatusText(f.Status))
	return response{f.Status, http.Header{"Content-Type": {"text/html"}}, []byte(body)}
}

// unprocessed answers a BatchGetItem with all of its keys.
func unprocessed(request []byte) response {
	var r struct{ RequestItems json.RawMessage }
	_ = json.Unmarshal(request, &r) // of the SDK
	body, _ := json.Marshal(map[string]any{"Responses": map[string]any{}, "UnprocessedKeys": r.RequestItems})
	return dynamoResponse(http.StatusOK, body)
}

// oneRow sets the limit of a Query to 1.
func oneRow(request []byte) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(request, &fields) != nil {
		return request
	}
	fields["Limit"] = json.RawMessage("1")
	changed, _ := json.Marshal(fields) // was valid
	return changed
}
