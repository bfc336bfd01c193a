package lambdahttp

import "testing"

// TestCutBody: which events are spared encoding/json, and that an event in any doubt is
// not. FuzzDecode holds that both ways come to the same.
func TestCutBody(t *testing.T) {
	for payload, want := range map[string]struct {
		rest, body string
		found      bool
	}{
		`{"body":"QQ=="}`:     {`{"body":""}`, "QQ==", true},
		`{"body":""}`:         {`{"body":""}`, "", true},
		`{"a":"","body":"x"}`: {`{"a":"","body":""}`, "x", true},
		"{\"body\" \t\r\n: \"x\" , \"version\":\"2.0\"}": {"{\"body\" \t\r\n: \"\" , \"version\":\"2.0\"}", "x", true},
		`{"a":{"b":["c"]},"body":"x"}`:                   {`{"a":{"b":["c"]},"body":""}`, "x", true},
		`{"a":[{"body":"y"}],"body":"x"}`:                {`{"a":[{"body":"y"}],"body":""}`, "x", true},
		`{"a":"\"\\","body":"x"}`:                        {`{"a":"\"\\","body":""}`, "x", true},
		`{"a":"ä","body":"x"}`:                           {`{"a":"ä","body":""}`, "x", true},
		"{\"body\":\" ~\x7f\"}":                          {`{"body":""}`, " ~\x7f", true},
		`{"body":"x","a":"body"}`:                        {`{"body":"","a":"body"}`, "x", true},

		`{}`:                        {},
		`{"a":"x"}`:                 {},
		`{"a":"body","b":"x"}`:      {},
		`{"a":{"body":"x"}}`:        {},
		`{"body":["x"]}`:            {},
		`{"body":{"a":"x"}}`:        {},
		`{"body":"x","body":"y"}`:   {},
		`{"Body":"x"}`:              {},
		`{"BODY":"x","body":"y"}`:   {},
		`{"body":"x","bodY":"y"}`:   {},
		`{"b\u006fdy":"y"}`:         {},
		`{"a\"b":1,"body":"x"}`:     {},
		`{"body":"\u0041"}`:         {},
		`{"body":"A\n"}`:            {},
		`{"body":"ä"}`:              {},
		"{\"body\":\"\x1f\"}":       {},
		"{\"body\":\"\x80\"}":       {},
		`{"body":"x`:                {},
		`{"body":"\"`:               {},
		`{"body":"\\\"`:             {},
		`{"body`:                    {},
		`"body":"x"`:                {},
		`{"a":"x","body":"\u0041"}`: {},
	} {
		rest, body, found := cutBody([]byte(payload))
		if string(rest) != want.rest || body != want.body || found != want.found {
			t.Errorf("%s: %s and %q, %v; want %s and %q, %v", payload, rest, body, found, want.rest, want.body, want.found)
		}
	}
}
