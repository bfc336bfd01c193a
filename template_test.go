package pierless

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/sources"
	"github.com/pierless/pierless/internal/template"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

//go:generate go test . -run TestTemplateRoutes$ -update
var update = flag.Bool("update", false, "write the generated part of template.yaml")

const (
	templateFile   = "template.yaml"
	generatedBegin = "        # generated: begin"
	generatedEnd   = "        # generated: end\n"
)

func loadTemplate(t *testing.T) template.Tree {
	t.Helper()
	root, err := template.Load(templateFile)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// sweeper names the function that a schedule invokes. It serves no family.
const sweeper route.Family = "sweep"

func functions() []route.Family { return append(route.Families(), sweeper) }

// logical returns the prefix of the logical IDs of a family's resources.
func logical(f route.Family) string { return strings.ToUpper(string(f[:1])) + string(f[1:]) }

// TestTemplateRoutes compares the generated part of the template with pkg/oci/route.
// With -update ("make generate") it writes that part.
func TestTemplateRoutes(t *testing.T) {
	content, err := os.ReadFile(templateFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(content), generatedBegin)
	comment, rest, _ := strings.Cut(rest, "\n")
	have, tail, closed := strings.Cut(rest, generatedEnd)
	if !found || !closed {
		t.Fatalf("%s has no lines %q and %q", templateFile, generatedBegin, generatedEnd)
	}
	want := integrations() + paths()
	if *update && have != want { // a current file keeps its time, and may be read meanwhile
		updated := head + generatedBegin + comment + "\n" + want + generatedEnd + tail
		if err := os.WriteFile(templateFile, []byte(updated), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("the routes differ from pkg/oci/route: run make generate (- want, + template)\n%s", diff)
	}
}

const integrationsRef = "#/components/x-amazon-apigateway-integrations/"

// integrations renders one integration for each family. API Gateway takes OpenAPI's
// uri in one form only, the invocation path of the function.
func integrations() string {
	var text strings.Builder
	text.WriteString("        components:\n          x-amazon-apigateway-integrations:\n")
	for _, f := range route.Families() {
		fmt.Fprintf(&text, `            %s:
              type: AWS_PROXY
              httpMethod: POST
              uri: !Sub arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${%sFunction.Arn}/invocations
              payloadFormatVersion: "2.0"
              timeoutInMillis: 30000
              responseParameters: !If
                - IsChallengeMapped
                - {"401": {"overwrite:header.www-authenticate": $response.header.x-registry-challenge}}
                - !Ref AWS::NoValue
`, f, logical(f))
	}
	return text.String()
}

// paths renders one path for each route, in the order of the table. The import wants
// the default route as the path "/$default".
func paths() string {
	var text strings.Builder
	text.WriteString("        paths:\n")
	for _, r := range route.GatewayRoutes() {
		path, mark := strings.TrimPrefix(r.Key, "ANY "), ""
		if r.Key == "$default" {
			path, mark = "/$default", "isDefaultRoute: true, "
		}
		fmt.Fprintf(&text, "          %s: {x-amazon-apigateway-any-method: {%sx-amazon-apigateway-integration: {$ref: %q}}}\n",
			path, mark, integrationsRef+string(r.Family))
	}
	return text.String()
}

// TestTemplateAPIImports: API Gateway rejects properties beside Body that the document
// has too, and the document's other parts have the form that it imports.
func TestTemplateAPIImports(t *testing.T) {
	api := loadTemplate(t).Map("Resources", "Api", "Properties")
	if len(api) != 1 {
		t.Errorf("the API has more properties than Body: %v", slices.Sorted(maps.Keys(api)))
	}
	body := maps.Clone(api.Map("Body"))
	delete(body, "paths")
	delete(body, "components")
	want := template.Tree{
		"openapi": "3.0.1", "info": template.Tree{"title": template.Tree{"Ref": "AWS::StackName"}, "version": "1.0"},
		"servers": []any{template.Tree{"url": "/", "x-amazon-apigateway-endpoint-configuration": template.Tree{
			"disableExecuteApiEndpoint": template.Tree{"Fn::If": []any{"HasDomain", "true", "false"}},
			"ipAddressType":             template.Tree{"Fn::If": []any{"IsDualStack", "dualstack", template.Tree{"Ref": "AWS::NoValue"}}},
		}}},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("the document (- want, + template):\n%s", diff)
	}
}

// TestTemplateRoutesReachTheirFunctions follows each path through integration and
// permission to a function, and checks that it is the function of the route's family
// and is built from the family's directory.
func TestTemplateRoutesReachTheirFunctions(t *testing.T) {
	root := loadTemplate(t)
	resources := root.Map("Resources")
	body := resources.Map("Api", "Properties", "Body")
	routes := route.GatewayRoutes()
	if got := len(body.Map("paths")); got != len(routes) {
		t.Errorf("%d paths, want %d", got, len(routes))
	}
	for _, r := range routes {
		path := strings.TrimPrefix(r.Key, "ANY ")
		want := template.Tree{"x-amazon-apigateway-integration": template.Tree{"$ref": integrationsRef + string(r.Family)}}
		if r.Key == "$default" {
			path, want["isDefaultRoute"] = "/$default", "true"
		}
		if diff := cmp.Diff(template.Tree{"x-amazon-apigateway-any-method": want}, body.Map("paths", path)); diff != "" {
			t.Errorf("%s (- want, + template):\n%s", path, diff)
		}
	}
	for _, f := range route.Families() {
		function := logical(f) + "Function"
		want := template.Tree{
			"type": "AWS_PROXY", "httpMethod": "POST", "payloadFormatVersion": "2.0",
			"uri": template.Tree{"Fn::Sub": "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${" +
				function + ".Arn}/invocations"},
			"timeoutInMillis": "30000", // the maximum of HTTP APIs, a second more than the functions' own
			"responseParameters": template.Tree{"Fn::If": []any{
				"IsChallengeMapped",
				template.Tree{"401": template.Tree{"overwrite:header.www-authenticate": "$response.header.x-registry-challenge"}},
				template.Tree{"Ref": "AWS::NoValue"},
			}},
		}
		if diff := cmp.Diff(want, body.Map("components", "x-amazon-apigateway-integrations", string(f))); diff != "" {
			t.Errorf("the integration of %s (- want, + template):\n%s", f, diff)
		}
		permission := resources.Map(logical(f)+"Permission", "Properties")
		if got := permission.Map("FunctionName").Text("Ref"); got != function || permission.Text("Principal") != "apigateway.amazonaws.com" {
			t.Errorf("the API may invoke %q for %s", got, f)
		}
		checkBuild(t, root, f, "29")
	}
}

// TestTemplateSweeps: only the schedule invokes the function that serves no requests.
func TestTemplateSweeps(t *testing.T) {
	root := loadTemplate(t)
	checkBuild(t, root, sweeper, "300") // no integration timeout applies
	for id, want := range map[string]template.Tree{
		"SweepSchedule": {
			"Description": template.Tree{"Fn::Sub": "${AWS::StackName}, sweep every hour"}, "ScheduleExpression": "rate(1 hour)",
			"Targets": []any{template.Tree{"Id": "sweep", "Arn": template.Tree{"Fn::GetAtt": "SweepFunction.Arn"}}},
		},
		"SweepPermission": {
			"FunctionName": template.Tree{"Ref": "SweepFunction"}, "Action": "lambda:InvokeFunction",
			"Principal": "events.amazonaws.com", "SourceArn": template.Tree{"Fn::GetAtt": "SweepSchedule.Arn"},
		},
	} {
		if diff := cmp.Diff(want, root.Map("Resources", id, "Properties")); diff != "" {
			t.Errorf("%s (- want, + template):\n%s", id, diff)
		}
	}
}

// TestTemplateGrace: all functions have one grace, which is the registry's by default, and every
// value that the parameter accepts lets the functions start.
func TestTemplateGrace(t *testing.T) {
	root := loadTemplate(t)
	parameter := root.Map("Parameters", "Grace")
	accepted := regexp.MustCompile(parameter.Text("AllowedPattern"))
	check := func(value string) (time.Duration, error) {
		c, err := env.Load(func(name string) string { return map[string]string{"PIERLESS_GRACE": value}[name] })
		if err != nil {
			return 0, err
		}
		return c.Grace, c.Check()
	}
	if got, err := check(parameter.Text("Default")); err != nil || got != registry.DefaultGrace {
		t.Errorf("the default is %v, %v", got, err)
	}
	if got, err := check(""); err != nil || got != registry.DefaultGrace {
		t.Errorf("without the variable it is %v, %v", got, err)
	}
	for _, value := range []string{"1s", "90m", "24h", "999999h"} {
		if _, err := check(value); err != nil || !accepted.MatchString(value) {
			t.Errorf("%q: %v", value, err)
		}
	}
	for _, value := range []string{"", "24", "0h", "-1h", "1.5h", "1d", "1h\n", "9999999h"} {
		if accepted.MatchString(value) {
			t.Errorf("%q is accepted", value)
		}
	}
	variables := root.Map("Globals", "Function", "Environment", "Variables")
	if got := variables.Map("PIERLESS_GRACE").Text("Ref"); got != "Grace" {
		t.Errorf("PIERLESS_GRACE is %q", got)
	}
	for _, f := range functions() {
		own := root.Map("Resources", logical(f)+"Function", "Properties")
		if _, has := own.Map("Environment", "Variables")["PIERLESS_GRACE"]; has {
			t.Errorf("%s has a grace of its own", f)
		}
	}
}

// TestTemplateAlarmsKnowEveryFunction: the alarms that sum over functions include each
// of them once.
func TestTemplateAlarmsKnowEveryFunction(t *testing.T) {
	root := loadTemplate(t)
	for _, alarm := range []string{"FunctionErrorsAlarm", "FunctionThrottlesAlarm"} {
		metrics := root.Map("Resources", alarm, "Properties").List("Metrics")
		for _, f := range functions() {
			if want := "Ref:" + logical(f) + "Function]"; strings.Count(fmt.Sprint(metrics...), want) != 1 {
				t.Errorf("%s does not count %s once", alarm, f)
			}
		}
		if len(metrics) > 1+10 {
			t.Errorf("%s has %d metrics: CloudWatch allows ten in an expression", alarm, len(metrics)-1)
		}
	}
}

// checkBuild checks a function's build: SAM deploys the output of "make
// build-<logical ID>", which must be the program in the family's directory.
func checkBuild(t *testing.T, root template.Tree, f route.Family, timeout string) {
	t.Helper()
	id := logical(f) + "Function"
	global, resource := root.Map("Globals", "Function"), root.Map("Resources", id)
	property := func(name string) string {
		if v, own := resource.Map("Properties")[name]; own {
			return fmt.Sprint(v)
		}
		return fmt.Sprint(global[name])
	}
	for name, want := range map[string]string{
		"CodeUri": ".", "Handler": "bootstrap", "Runtime": "provided.al2023", "Architectures": "[arm64]", "Timeout": timeout,
	} {
		if got := property(name); got != want {
			t.Errorf("%s: %s is %q, want %q", id, name, got, want)
		}
	}
	if got := resource.Map("Metadata").Text("BuildMethod"); got != "makefile" {
		t.Errorf("%s: BuildMethod is %q, want makefile", id, got)
	}
	sources.Track(t, ".")
	out, err := exec.CommandContext(t.Context(), "make", "-n", "build-"+id, "ARTIFACTS_DIR=/artifacts").CombinedOutput()
	if err != nil {
		t.Fatalf("make build-%s: %v: %s", id, err, out)
	}
	built := regexp.MustCompile(`\./functions/(\w+)`).FindAllStringSubmatch(string(out), -1)
	if len(built) != 1 || built[0][1] != string(f) || !strings.Contains(string(out), "-o '/artifacts/bootstrap' ") {
		t.Errorf("make build-%s does %s", id, out)
	}
}

// TestTemplateHoldsNoSecret: a stack knows only the hash of the token, and neither logs
// nor outputs show a secret.
func TestTemplateHoldsNoSecret(t *testing.T) {
	root := loadTemplate(t)
	token := root.Map("Parameters", "AdminTokenSha256")
	if _, has := token["Default"]; has || token.Text("AllowedPattern") != "^[0-9a-f]{64}$" {
		t.Errorf("AdminTokenSha256 is %v", token)
	}
	if out := fmt.Sprint(root.Map("Outputs")); strings.Contains(out, "AdminTokenSha256") {
		t.Errorf("an output shows the token's hash: %s", out)
	}
	format := root.Map("Resources", "Stage", "Properties", "AccessLogSettings").Text("Format")
	for _, bad := range []string{"$context.path", "$context.authorizer", "$context.identity.user", "$input", "$request"} {
		if strings.Contains(format, bad) {
			t.Errorf("the access log has %s", bad)
		}
	}
	if len(format) > 3<<10 {
		t.Errorf("the format of the access log has %d bytes; API Gateway's limit is 3 KB", len(format))
	}
}
