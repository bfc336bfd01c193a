package pierless

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pierless/pierless/internal/sources"
	"github.com/pierless/pierless/internal/template"
	"github.com/pierless/pierless/pkg/oci/route"
)

var update = flag.Bool("update", false, "write the routes of template.yaml")

const (
	templateFile = "template.yaml"
	routesBegin  = "  # routes: begin\n"
	routesEnd    = "  # routes: end\n"
)

func loadTemplate(t *testing.T) template.Tree {
	t.Helper()
	root, err := template.Load(templateFile)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// sweeper is a function like the others, but serves no family: a schedule calls it.
const sweeper route.Family = "sweep"

func functions() []route.Family { return append(route.Families(), sweeper) }

// logical is the beginning of the logical ids of a family's resources.
func logical(f route.Family) string { return strings.ToUpper(string(f[:1])) + string(f[1:]) }

// TestTemplateRoutes: the generated part of the template is what pkg/oci/route says.
// With -update ("make template") it is written.
func TestTemplateRoutes(t *testing.T) {
	content, err := os.ReadFile(templateFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(content), routesBegin)
	have, tail, closed := strings.Cut(rest, routesEnd)
	if !found || !closed {
		t.Fatalf("%s has no lines %q and %q", templateFile, routesBegin, routesEnd)
	}
	var want strings.Builder
	for _, r := range route.GatewayRoutes() {
		fmt.Fprintf(&want, "  %s:\n    Type: AWS::ApiGatewayV2::Route\n"+
			"    Properties: {ApiId: !Ref Api, RouteKey: %q, Target: !Sub \"integrations/${%sIntegration}\"}\n",
			r.ID, r.Key, logical(r.Family))
	}
	if *update {
		if err := os.WriteFile(templateFile, []byte(head+routesBegin+want.String()+routesEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != want.String() {
		t.Errorf("the routes are not those of pkg/oci/route: run make template\n%s", cmp.Diff(want.String(), have))
	}
}

// TestTemplateRoutesReachTheirFunctions follows each route, wherever it stands in
// the template, through integration and permission to a function, and looks that
// the function is the family's and is built from the family's folder.
func TestTemplateRoutesReachTheirFunctions(t *testing.T) {
	root := loadTemplate(t)
	resources := root.Map("Resources")
	want := map[string]route.Family{}
	for _, r := range route.GatewayRoutes() {
		want[r.Key] = r.Family
	}
	for id := range resources {
		if resources.Map(id).Text("Type") != "AWS::ApiGatewayV2::Route" {
			continue
		}
		properties := resources.Map(id, "Properties")
		key := properties.Text("RouteKey")
		family, known := want[key]
		delete(want, key)
		target := "integrations/${" + logical(family) + "Integration}"
		if got := properties.Map("Target").Text("Fn::Sub"); !known || got != target {
			t.Errorf("%s: %s goes to %q, want %q", id, key, got, target)
		}
	}
	for key := range want {
		t.Errorf("no route %s", key)
	}
	for _, f := range route.Families() {
		function := logical(f) + "Function"
		want := template.Tree{
			"ApiId": template.Tree{"Ref": "Api"}, "IntegrationType": "AWS_PROXY", "PayloadFormatVersion": "2.0",
			"IntegrationUri":  template.Tree{"Fn::GetAtt": function + ".Arn"},
			"TimeoutInMillis": "29000", // the functions' own timeout; the gateway allows 30,000
			"ResponseParameters": template.Tree{"401": template.Tree{"ResponseParameters": []any{template.Tree{
				"Destination": "overwrite:header.www-authenticate", "Source": "$response.header.x-registry-challenge",
			}}}},
		}
		if diff := cmp.Diff(want, resources.Map(logical(f)+"Integration", "Properties")); diff != "" {
			t.Errorf("the integration of %s (- want, + template):\n%s", f, diff)
		}
		if got := resources.Map(logical(f)+"Permission", "Properties", "FunctionName").Text("Ref"); got != function {
			t.Errorf("the gateway may call %q for %s", got, f)
		}
		checkBuild(t, root, f, "29")
	}
}

// TestTemplateSweeps: the schedule, and nothing else, calls the function that serves no
// requests.
func TestTemplateSweeps(t *testing.T) {
	root := loadTemplate(t)
	checkBuild(t, root, sweeper, "300") // no gateway waits
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

// TestTemplateAlarmsKnowEveryFunction: an alarm that sums the functions leaves none out.
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
			t.Errorf("%s has %d metrics: CloudWatch takes ten in an expression", alarm, len(metrics)-1)
		}
	}
}

// checkBuild: SAM makes a function of what "make build-<its logical id>" builds, so
// that must be the family's folder.
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

// TestTemplateHoldsNoSecret: the only thing that a stack is told of the token is its
// hash, and nothing that a log or an output shows is one.
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
		t.Errorf("the format of the access log has %d bytes, 3 KB are the gateway's limit", len(format))
	}
}
