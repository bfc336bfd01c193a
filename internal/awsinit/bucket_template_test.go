package awsinit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/pierless/pierless/internal/template"
)

// rule is the effect of a lifecycle rule on a prefix of keys, after a number of days.
type rule struct {
	prefix       string
	expire       int
	abortUploads int
}

func lifecycle(t *testing.T) template.Tree {
	t.Helper()
	root, err := template.Load("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return root.Map("Resources", "Bucket", "Properties", "LifecycleConfiguration")
}

// templateRules reads the rules of the template. A rule with anything that is not
// read here fails the test: it could do anything to anything.
func templateRules(t *testing.T) map[string]rule {
	t.Helper()
	days := func(text string) int {
		n, err := strconv.Atoi(text)
		if text != "" && (err != nil || n < 1) {
			t.Errorf("%q is no number of days", text)
		}
		return n
	}
	rules := map[string]rule{}
	for _, r := range lifecycle(t).List("Rules") {
		properties, _ := r.(template.Tree)
		for name := range properties {
			if !slices.Contains([]string{"Id", "Status", "Prefix", "ExpirationInDays", "AbortIncompleteMultipartUpload"}, name) {
				t.Errorf("a lifecycle rule has %s, which this test does not know", name)
			}
		}
		if properties.Text("Status") != "Enabled" {
			t.Errorf("a rule is not enabled: %v", properties)
		}
		rules[properties.Text("Id")] = rule{
			prefix: properties.Text("Prefix"), expire: days(properties.Text("ExpirationInDays")),
			abortUploads: days(properties.Map("AbortIncompleteMultipartUpload").Text("DaysAfterInitiation")),
		}
	}
	return rules
}

// TestTemplateLifecycleSparesContent: no rule that removes objects can match the key
// of committed content, whatever that is. A rule with a prefix P matches a key under
// blobs/ if P begins with that or that begins with P; no other can.
func TestTemplateLifecycleSparesContent(t *testing.T) {
	const content = "blobs/" // TestContentHasOnePrefix in pkg/registry/s3blobs
	for id, r := range templateRules(t) {
		mayMatch := strings.HasPrefix(r.prefix, content) || strings.HasPrefix(content, r.prefix)
		if r.expire > 0 && mayMatch {
			t.Errorf("the rule %s expires %q, which matches content under %s", id, r.prefix, content)
		}
	}
}

// TestTemplateLifecycleIsInits: the template has the lifecycle rules of pierless init.
func TestTemplateLifecycleIsInits(t *testing.T) {
	want := map[string]rule{}
	for _, r := range ourRules() {
		w := rule{prefix: aws.ToString(r.Filter.Prefix)}
		if r.Expiration != nil {
			w.expire = int(aws.ToInt32(r.Expiration.Days))
		}
		if r.AbortIncompleteMultipartUpload != nil {
			w.abortUploads = int(aws.ToInt32(r.AbortIncompleteMultipartUpload.DaysAfterInitiation))
		}
		want[aws.ToString(r.ID)] = w
	}
	if got := templateRules(t); !maps.Equal(got, want) {
		t.Errorf("the template has %v, init %v", got, want)
	}
}

// TestTemplateBucketIsClosed: only principals of the account have access, and only over
// TLS. Bucket and policy outlive the stack, except if its creation is rolled back.
func TestTemplateBucketIsClosed(t *testing.T) {
	root, err := template.Load("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	bucket := root.Map("Resources", "Bucket")
	block := bucket.Map("Properties", "PublicAccessBlockConfiguration")
	for _, name := range []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"} {
		if block.Text(name) != "true" {
			t.Errorf("%s is %q", name, block.Text(name))
		}
	}
	if got := fmt.Sprint(bucket.Map("Properties", "OwnershipControls")); got != "map[Rules:[map[ObjectOwnership:BucketOwnerEnforced]]]" {
		t.Errorf("ownership: %s", got)
	}
	for _, id := range []string{"Bucket", "BucketPolicy"} {
		resource := root.Map("Resources", id)
		if resource.Text("DeletionPolicy") != "RetainExceptOnCreate" || resource.Text("UpdateReplacePolicy") != "Retain" {
			t.Errorf("%s can be lost: %v", id, resource)
		}
	}
	statement, _ := root.Map("Resources", "BucketPolicy", "Properties", "PolicyDocument").List("Statement")[0].(template.Tree)
	if statement.Text("Effect") != "Deny" || statement.Map("Condition", "Bool").Text("aws:SecureTransport") != "false" {
		t.Errorf("no TLS is needed: %v", statement)
	}
}
