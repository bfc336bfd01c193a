package iam

import (
	"errors"
	"testing"
)

const (
	table  = "arn:aws:dynamodb:us-east-1:000000000000:table/names"
	bucket = "arn:aws:s3:::bytes"
)

func statementOf(effect string, action, resource any, conditions map[string]any) any {
	m := map[string]any{"Effect": effect, "Action": action, "Resource": resource}
	if conditions != nil {
		m["Condition"] = conditions
	}
	return m
}

func leading(operator string, patterns ...any) map[string]any {
	return map[string]any{operator: map[string]any{KeyLeadingKeys: patterns}}
}

func TestCheck(t *testing.T) {
	const all, each = "ForAllValues:StringLike", "ForAnyValue:StringLike"
	keys := func(values ...string) map[string][]string { return map[string][]string{KeyLeadingKeys: values} }
	get := Call{Action: "dynamodb:GetItem", Resource: table}
	with := func(values ...string) Call { c := get; c.Context = keys(values...); return c }
	allow := func(action, resource any, conditions map[string]any) any {
		return statementOf("Allow", action, resource, conditions)
	}
	object := Call{Action: "s3:GetObject", Resource: bucket + "/blobs/a/b"}
	for name, c := range map[string]struct {
		statements []any
		call       Call
		allowed    bool
		explicit   bool
	}{
		"no statement":              {nil, get, false, false},
		"plain":                     {[]any{allow("dynamodb:GetItem", table, nil)}, get, true, false},
		"another action":            {[]any{allow("dynamodb:PutItem", table, nil)}, get, false, false},
		"action's case":             {[]any{allow("DynamoDB:getitem", table, nil)}, get, true, false},
		"action list and wildcard":  {[]any{allow([]any{"s3:*", "dynamodb:Get*"}, table, nil)}, get, true, false},
		"another resource":          {[]any{allow("dynamodb:GetItem", table+"2", nil)}, get, false, false},
		"resource's case":           {[]any{allow("s3:GetObject", "arn:aws:s3:::BYTES/*", nil)}, object, false, false},
		"wildcard spans slashes":    {[]any{allow("s3:GetObject", bucket+"/blobs/*", nil)}, object, true, false},
		"prefix is not enough":      {[]any{allow("s3:GetObject", bucket+"/blobs", nil)}, object, false, false},
		"bucket is not its objects": {[]any{allow("s3:GetObject", bucket, nil)}, object, false, false},
		"question mark":             {[]any{allow("s3:GetObject", bucket+"/blobs/?/b", nil)}, object, true, false},
		"deny wins": {
			[]any{allow("*", "*", nil), statementOf("Deny", "s3:GetObject", "*", nil)}, object, false, true,
		},
		"deny with a condition that does not hold": {
			[]any{allow("*", "*", nil), statementOf("Deny", "dynamodb:*", "*", leading(each, "T#*"))}, with("M#a"), true, false,
		},
		"all leading keys":         {[]any{allow("*", "*", leading(all, "T#*", "M#*"))}, with("T#a", "M#a"), true, false},
		"one leading key too many": {[]any{allow("*", "*", leading(all, "T#*"))}, with("T#a", "M#a"), false, false},
		"no leading keys":          {[]any{allow("*", "*", leading(all, "T#*"))}, get, true, false}, // as on AWS
		"any, missing":             {[]any{allow("*", "*", leading(each, "T#*"))}, get, false, false},
		"single":                   {[]any{allow("*", "*", leading("StringLike", "T#*"))}, with("T#a"), true, false},
		"single, missing":          {[]any{allow("*", "*", leading("StringLike", "T#*"))}, get, false, false},
		"if exists":                {[]any{allow("*", "*", leading("StringLikeIfExists", "T#*"))}, get, true, false},
		"equals takes no wildcard": {[]any{allow("*", "*", leading("StringEquals", "T#*"))}, with("T#a"), false, false},
		"not equals":               {[]any{allow("*", "*", leading("StringNotEquals", "N"))}, with("T#a"), true, false},
		"not like":                 {[]any{allow("*", "*", leading("StringNotLike", "T#*"))}, with("T#a"), false, false},
	} {
		policy, err := Parse(c.statements)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err = policy.Check(c.call)
		var denied *DeniedError
		if (err == nil) != c.allowed || err != nil && (!errors.As(err, &denied) || denied.Explicit != c.explicit) {
			t.Errorf("%s: %v, want allowed %v", name, err, c.allowed)
		}
	}
}

func TestParseRefusesWhatItCannotCheck(t *testing.T) {
	good := func() map[string]any {
		return map[string]any{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
	}
	for name, change := range map[string]func(map[string]any){
		"NotAction":       func(m map[string]any) { m["NotAction"] = "s3:*" },
		"NotResource":     func(m map[string]any) { m["NotResource"] = "*" },
		"Principal":       func(m map[string]any) { m["Principal"] = "*" },
		"effect":          func(m map[string]any) { m["Effect"] = "allow" },
		"action":          func(m map[string]any) { m["Action"] = "GetObject" },
		"no action":       func(m map[string]any) { delete(m, "Action") },
		"no resource":     func(m map[string]any) { m["Resource"] = []any{} },
		"policy variable": func(m map[string]any) { m["Resource"] = "arn:aws:s3:::a/${aws:userid}" },
		"operator":        func(m map[string]any) { m["Condition"] = leading("DateLessThan", "x") },
		"set operator":    func(m map[string]any) { m["Condition"] = leading("ForSomeValues:StringLike", "x") },
		"key": func(m map[string]any) {
			m["Condition"] = map[string]any{"StringEquals": map[string]any{"aws:SourceIp": "x"}}
		},
		"key for all services": func(m map[string]any) {
			m["Action"], m["Condition"] = "*", map[string]any{"StringEquals": map[string]any{"kms:ViaService": "x"}}
		},
		"nested intrinsic": func(m map[string]any) { m["Resource"] = map[string]any{"Ref": "x"} },
	} {
		if _, err := Parse([]any{good()}); err != nil {
			t.Fatal(err)
		}
		bad := good()
		change(bad)
		if _, err := Parse([]any{bad}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	kms := statementOf("Allow", "kms:Decrypt", "*", map[string]any{"StringEquals": map[string]any{"kms:ViaService": "x"}})
	if _, err := Parse([]any{kms}); err != nil {
		t.Errorf("keys of services whose calls are not seen: %v", err)
	}
}

func TestMatch(t *testing.T) {
	for pattern, texts := range map[string]map[string]bool{
		"a*c":  {"ac": true, "abbc": true, "abcd": false, "a/c": true},
		"*":    {"": true, "x": true},
		"":     {"": true, "x": false},
		"a?":   {"a": false, "ab": true},
		"*b*b": {"abab": true, "aba": false, "bb": true},
	} {
		for text, want := range texts {
			if Match(pattern, text) != want {
				t.Errorf("Match(%q, %q) is %v", pattern, text, !want)
			}
		}
	}
}
