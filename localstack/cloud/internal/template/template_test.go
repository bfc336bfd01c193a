package template

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var digest = strings.Repeat("ab", 32)

func testOptions() Options {
	return Options{
		Parameters: map[string]string{"AdminTokenSha256": digest}, Region: "eu-west-1", AccountID: "000000000000",
		Bucket: "bytes", Table: "names",
	}
}

func fixture(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../testdata/template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParse(t *testing.T) {
	got, err := Parse([]byte(fixture(t)), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	const lambdaARN = "arn:aws:lambda:eu-west-1:000000000000:function:"
	env := map[string]string{
		"PIERLESS_BUCKET": "bytes", "PIERLESS_TABLE": "names", "PIERLESS_ADMIN_TOKEN_SHA256": digest, "PIERLESS_ANONYMOUS_PULL": "false",
	}
	baseEnv := map[string]string{"ONLY_BASE": "a-eu-west-1"}
	for name, value := range env {
		baseEnv[name] = value
	}
	mapping := map[string]map[string]string{"401": {"overwrite:header.www-authenticate": "$response.header.x-registry-challenge"}}
	want := &Stack{
		Functions: []Function{
			{LogicalID: "BaseFunction", Name: "BaseFunction", ARN: lambdaARN + "BaseFunction", Environment: baseEnv, Memory: 512, Timeout: 3, Concurrency: -1},
			{
				LogicalID: "BlobsFunction", Name: "BlobsFunction", ARN: lambdaARN + "BlobsFunction", Environment: env, Memory: 256, Timeout: 3, Concurrency: 7,
				Statements: []any{
					map[string]any{
						"Effect": "Allow", "Action": []any{"dynamodb:GetItem"}, "Resource": "arn:aws:dynamodb:eu-west-1:000000000000:table/names",
					},
					map[string]any{"Effect": "Allow", "Action": []any{"s3:GetObject", "s3:PutObject"}, "Resource": "arn:aws:s3:::bytes/blobs/*"},
					map[string]any{
						"Effect": "Allow", "Action": []any{"dynamodb:GetItem", "dynamodb:Query"},
						"Resource":  "arn:aws:dynamodb:eu-west-1:000000000000:table/names",
						"Condition": map[string]any{"ForAllValues:StringLike": map[string]any{"dynamodb:LeadingKeys": []any{"B#*"}}},
					},
				},
			},
			{LogicalID: "SweepFunction", Name: "SweepFunction", ARN: lambdaARN + "SweepFunction", Environment: env, Memory: 512, Timeout: 300, Concurrency: -1},
		},
		Routes: []Route{
			{Key: "$default", Function: "BaseFunction", TimeoutMillis: 29000, Mapping: mapping, Permitted: true},
			{Key: "GET /forbidden", Function: "BlobsFunction", TimeoutMillis: 30000},
			{Key: "ANY /v2/{n1}/blobs/{digest}", Function: "BlobsFunction", TimeoutMillis: 30000, Permitted: true},
		},
		Tables: []Table{{LogicalID: "Table", Name: "names", HashKey: "pk"}},
		APIID:  "Api",
		Warnings: []string{
			`no AWS::Lambda::Permission lets the API invoke BlobsFunction for "GET /forbidden": it answers 500`,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParameters(t *testing.T) {
	opts := testOptions()
	opts.Parameters["KmsKeyArn"] = "arn:aws:kms:eu-west-1:000000000000:key/k"
	stack, err := Parse([]byte(fixture(t)), opts)
	if err != nil {
		t.Fatal(err)
	}
	if f := stack.Functions[1]; len(f.Statements) != 4 || f.Environment["PIERLESS_SSE"] != "aws:kms" {
		t.Errorf("with a key: %+v", f)
	}
	for name, change := range map[string]func(map[string]string){
		"missing":     func(m map[string]string) { delete(m, "AdminTokenSha256") },
		"pattern":     func(m map[string]string) { m["AdminTokenSha256"] += "a" },
		"not allowed": func(m map[string]string) { m["AnonymousPull"] = "yes" },
		"unknown":     func(m map[string]string) { m["Other"] = "x" },
	} {
		opts := testOptions()
		change(opts.Parameters)
		if _, err := Parse([]byte(fixture(t)), opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestRefuses: elements of a template that the local cloud does not emulate are errors.
func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"intrinsic":          {`!Sub "${Bucket.Arn}/blobs/*"`, `!ImportValue x`, "Fn::ImportValue"},
		"attribute":          {"!GetAtt Table.Arn", "!GetAtt Table.Other", "Table.Other"},
		"name":               {"!Ref Bucket\n", "!Ref Buckets\n", "Buckets"},
		"condition":          {"[HasKey,", "[HasNoKey,", "HasNoKey"},
		"circle":             {`!Not [!Equals [!Ref KmsKeyArn, ""]]`, "!Condition HasKey", "depends on itself"},
		"stage":              {"StageName: $default", "StageName: v2", "$default"},
		"slash at the end":   {"/v2/{n1}/blobs/{digest}:", "/v2/{n1}/blobs/:", "does not end in one"},
		"greedy in between":  {"/v2/{n1}/blobs", "/v2/{n1+}/blobs", "greedy"},
		"half a variable":    {"/v2/{n1}/blobs", "/v2/x{n1}/blobs", "whole segment"},
		"default by mark":    {"isDefaultRoute: true", "isDefaultRoute: false", "isDefaultRoute"},
		"default by path":    {"/$default:", "/default:", "isDefaultRoute"},
		"method":             {"            get:", "            fetch:", "not a method"},
		"same path twice":    {"/forbidden:", "/$default:", "twice"},
		"redundant property": {"FailOnWarnings: true", "ProtocolType: HTTP", "ProtocolType"},
		"version of OpenAPI": {"openapi: 3.0.1", "openapi: 3.1.0", "3.1.0"},
		"authorizer":         {"isDefaultRoute: true", "isDefaultRoute: true\n              security: []", "security"},
		"part of document":   {"        info:", "        x-amazon-apigateway-cors: {}\n        info:", "cors"},
		"reference":          {"integrations/base\"", "integrations/bass\"", "no integration"},
		"payload format":     {`payloadFormatVersion: "2.0"`, `payloadFormatVersion: "1.0"`, "payloadFormatVersion"},
		"timeout":            {"timeoutInMillis: 29000", "timeoutInMillis: 31000", "50 to 30000"},
		"CloudFormation's":   {`{ "overwrite:header`, `{ ResponseParameters: [], "overwrite:header`, "a source for each destination"},
		"other property":     {"timeoutInMillis: 29000", "credentials: x", "credentials"},
		"bare ARN":           {"${BaseFunction.Arn}/invocations", "${BaseFunction.Arn}", "wants arn:aws:apigateway"},
		"another function":   {"${BaseFunction.Arn}/inv", "${Table.Arn}/inv", "not a function"},
		"managed policy":     {"AWSLambdaBasicExecutionRole", "AmazonS3FullAccess", "AmazonS3FullAccess"},
		"another policy":     {"!Ref SharedPolicy", "!Ref Table", "does not know the policy names"},
		"policy with roles":  {"Description: !Sub ${AWS::StackName}, shared", "Roles: [x]", "Roles"},
		"policy without one": {"PolicyDocument:\n        Version", "PolicyDocument: !Ref Table\n    Other:\n        Version", "not a policy"},
		"policy template":    {"- AWSLambdaBasicExecutionRole", "- S3CrudPolicy: {BucketName: x}", "S3CrudPolicy"},
		"role":               {"CodeUri: .\n      Environment", "Role: x\n      Environment", "Role"},
		"events":             {"CodeUri: .\n      MemorySize", "Events: {}\n      MemorySize", "Events"},
		"runtime":            {"provided.al2023", "python3.13", "runtime"},
		"reserved variable":  {"ONLY_BASE", "AWS_REGION", "reserved"},
		"too much memory":    {"MemorySize: 256", "MemorySize: 20480", "limit"},
		"second bucket":      {"  Table:\n    Type", "  Logs:\n    Type: AWS::S3::Bucket\n  Table:\n    Type", "Bucket, Logs"},
		"two documents' key": {"Resources:\n", "Resources:\n  Bucket: {}\n", "twice"},
	} {
		text := strings.Replace(fixture(t), c.from, c.to, 1)
		if text == fixture(t) {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if _, err := Parse([]byte(text), testOptions()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestIntrinsics(t *testing.T) {
	e, err := newEvaluator(map[string]any{
		"Parameters": map[string]any{"List": map[string]any{"Type": "CommaDelimitedList", "Default": "a, b"}},
		"Conditions": map[string]any{"Yes": map[string]any{"Fn::Equals": []any{"1", "1"}}},
	}, withoutParameters())
	if err != nil {
		t.Fatal(err)
	}
	call := func(name string, args ...any) any { return map[string]any{name: args} }
	yes := map[string]any{"Condition": "Yes"}
	no := call("Fn::Not", yes)
	for name, c := range map[string]struct{ in, want any }{
		"join":         {call("Fn::Join", "-", map[string]any{"Ref": "List"}), "a-b"},
		"and":          {call("Fn::And", yes, no), false},
		"and, both":    {call("Fn::And", yes, yes), true},
		"or":           {call("Fn::Or", yes, no), true},
		"or, neither":  {call("Fn::Or", no, no), false},
		"if":           {call("Fn::If", "Yes", "then", "else"), "then"},
		"sub":          {map[string]any{"Fn::Sub": "${AWS::Region} ${!Literal}"}, "eu-west-1 ${Literal}"},
		"sub with own": {call("Fn::Sub", "${x}", map[string]any{"x": call("Fn::Join", "", map[string]any{"Ref": "List"})}), "ab"},
		"no value":     {map[string]any{"a": map[string]any{"Ref": "AWS::NoValue"}, "b": "c"}, map[string]any{"b": "c"}},
	} {
		got, err := e.eval(name, c.in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func withoutParameters() Options {
	o := testOptions()
	o.Parameters = nil
	return o
}
