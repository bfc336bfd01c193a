package pierless

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/template"
	"github.com/pierless/pierless/pkg/oci/route"
)

// use lists the permissions that one SDK operation needs in one family. An operation
// without needs is linked but never called; why gives the reason for the link.
type use struct {
	needs []string // "<IAM action> <scope>": a partition, a prefix of object keys, the bucket or the KMS key
	why   string
}

func needs(list ...string) use { return use{needs: list} }

func never(why string) use { return use{why: why} }

// everywhere lists the operations that every binary links because the SDK refers to them.
func everywhere() map[string]use {
	return map[string]use{
		"dynamodb.DescribeEndpoints":    never("endpoint discovery, which is off"),
		"s3.CreateSession":              never("for directory buckets only"),
		"sso.GetRoleCredentials":        never("credentials of a profile; a function has its role's"),
		"ssooidc.CreateToken":           never("credentials of a profile"),
		"sts.AssumeRole":                never("credentials of a profile"),
		"sts.AssumeRoleWithWebIdentity": never("credentials of a pod"),
		"signin.CreateOAuth2Token":      never("credentials of a login"),
	}
}

// uses is a reviewed table: for each family, the SDK operations that its binary can
// reach and the permissions that they need. A transaction needs the actions of its
// items. Review it together with pkg/registry, where each operation has few callers;
// TestTemplateRowsAreAllowed compares the same policies with the calls that are made.
func uses(f route.Family) map[string]use {
	const batch = "Names.Get is one function for one key and many; this family asks for one"
	switch f {
	case route.FamilyBase:
		return map[string]use{"dynamodb.Query": needs("dynamodb:Query N", "dynamodb:Query M#*")} // Repositories; hasManifest
	case route.FamilyBlobs:
		return map[string]use{
			"dynamodb.GetItem":            needs("dynamodb:GetItem B#*"), // FindBlob: the link
			"dynamodb.BatchGetItem":       never(batch),
			"dynamodb.UpdateItem":         needs("dynamodb:UpdateItem B#*"), // touch
			"dynamodb.PutItem":            never("Names.Update is one function for all writes; this family touches"),
			"dynamodb.DeleteItem":         never("as PutItem; DeleteBlob is a transaction"),
			"dynamodb.TransactWriteItems": needs("dynamodb:DeleteItem B#*", "dynamodb:PutItem Q#*"), // DeleteBlob: link, review
			"s3.PresignGetObject":         needs("s3:GetObject blobs/*", "kms:Decrypt key"),
			"s3.PresignHeadObject":        needs("s3:GetObject blobs/*", "kms:Decrypt key"),
			"s3.GetObject":                never("Blobs.Open is for stores without URLs"),
		}
	case route.FamilyUploads:
		return map[string]use{
			"dynamodb.GetItem":      needs("dynamodb:GetItem B#*", "dynamodb:GetItem K#*"), // adoptExisting, mountSource, checkRepeated; UploadStatus, CancelUpload
			"dynamodb.BatchGetItem": never(batch),
			"dynamodb.Query":        needs("dynamodb:Query B#*"),                                 // mountSource without from, relink
			"dynamodb.PutItem":      needs("dynamodb:PutItem K#*"),                               // CancelUpload, spoil
			"dynamodb.UpdateItem":   needs("dynamodb:UpdateItem B#*", "dynamodb:UpdateItem K#*"), // touch; claim, AppendUpload
			"dynamodb.DeleteItem":   never("Names.Update is one function for all writes; this family deletes no row"),
			"dynamodb.TransactWriteItems": needs( // StartUpload, commit, adopt, MountBlob; heal, relink
				"dynamodb:PutItem B#*", "dynamodb:PutItem K#*", "dynamodb:PutItem Q#*", "dynamodb:ConditionCheckItem B#*",
				"dynamodb:UpdateItem B#*", "dynamodb:UpdateItem K#*"),
			"s3.GetObject":               needs("s3:GetObject blobs/*", "s3:GetObject tails/*", "s3:ListBucket bucket", "kms:Decrypt key"), // digestOf; readTail
			"s3.HeadObject":              needs("s3:GetObject blobs/*", "s3:ListBucket bucket", "kms:Decrypt key"),                         // sound
			"s3.PutObject":               needs("s3:PutObject blobs/*", "s3:PutObject tails/*", "kms:GenerateDataKey key"),
			"s3.DeleteObject":            needs("s3:DeleteObject blobs/*", "s3:DeleteObject tails/*"), // duplicates; Discard
			"s3.CreateMultipartUpload":   needs("s3:PutObject blobs/*", "kms:GenerateDataKey key"),
			"s3.UploadPart":              needs("s3:PutObject blobs/*", "kms:GenerateDataKey key", "kms:Decrypt key"),
			"s3.CompleteMultipartUpload": needs("s3:PutObject blobs/*", "kms:Decrypt key"),
			"s3.AbortMultipartUpload":    needs("s3:AbortMultipartUpload blobs/*"),
		}
	case route.FamilyManifests:
		return map[string]use{
			"dynamodb.GetItem": needs("dynamodb:GetItem T#*", "dynamodb:GetItem C#*", "dynamodb:GetItem M#*", // FindManifest, DeleteManifest
				"dynamodb:GetItem B#*", "dynamodb:GetItem N"), // checkReferences of one row
			"dynamodb.BatchGetItem": needs("dynamodb:BatchGetItem B#*", "dynamodb:BatchGetItem M#*", "dynamodb:BatchGetItem N", // checkReferences
				"dynamodb:BatchGetItem T#*"), // pointing
			"dynamodb.Query":      needs("dynamodb:Query E#*", "dynamodb:Query M#*", "dynamodb:Query T#*"), // edges; DeleteRepository
			"dynamodb.PutItem":    needs("dynamodb:PutItem M#*", "dynamodb:PutItem K#*"),                   // announce; dropUnnamed
			"dynamodb.UpdateItem": needs("dynamodb:UpdateItem B#*", "dynamodb:UpdateItem N"),               // touchStale; catalogue
			"dynamodb.DeleteItem": never("Names.Update is one function for all writes; deletes are in transactions"),
			"dynamodb.TransactWriteItems": needs(
				"dynamodb:UpdateItem M#*", // publication of what is there
				"dynamodb:UpdateItem K#*", // healManifest whose bytes are lost
				"dynamodb:PutItem T#*", "dynamodb:PutItem E#*", "dynamodb:PutItem K#*", "dynamodb:PutItem C#*",
				"dynamodb:PutItem F#*", "dynamodb:PutItem M#*", // publication
				"dynamodb:DeleteItem T#*", "dynamodb:DeleteItem E#*", // DeleteTag
				"dynamodb:DeleteItem M#*", "dynamodb:DeleteItem C#*", "dynamodb:DeleteItem F#*", "dynamodb:PutItem Q#*", // takeDown
				"dynamodb:ConditionCheckItem M#*", // deleteRest
				"dynamodb:UpdateItem N"),          // catalogue, unlist
			"s3.GetObject":    needs("s3:GetObject blobs/*", "s3:ListBucket bucket", "kms:Decrypt key"), // manifestBytes
			"s3.HeadObject":   needs("s3:GetObject blobs/*", "s3:ListBucket bucket", "kms:Decrypt key"), // sound
			"s3.PutObject":    needs("s3:PutObject blobs/*", "kms:GenerateDataKey key"),
			"s3.DeleteObject": needs("s3:DeleteObject blobs/*"),
		}
	case route.FamilyTags:
		return map[string]use{
			"dynamodb.Query":        needs("dynamodb:Query T#*", "dynamodb:Query M#*"), // Tags; hasManifest
			"dynamodb.GetItem":      needs("dynamodb:GetItem N"),                       // whether the repository exists
			"dynamodb.BatchGetItem": never(batch),
		}
	case route.FamilyReferrers:
		return map[string]use{
			"dynamodb.Query":        needs("dynamodb:Query F#*"),
			"dynamodb.GetItem":      needs("dynamodb:GetItem C#*"), // FindManifest by digest, for long annotations
			"dynamodb.BatchGetItem": never(batch),
			"s3.GetObject":          needs("s3:GetObject blobs/*", "s3:ListBucket bucket", "kms:Decrypt key"),
		}
	}
	return directUses(f)
}

// withCaller adds the calls that find the caller of a request (pkg/access, Directory), which every
// function of the API makes. Metadata.Update is one function for all writes, so they link PutItem
// and DeleteItem as well; the policy grants them UpdateItem on the days of use (A#U) only.
func withCaller(f route.Family, table map[string]use) map[string]use {
	if f == sweeper {
		return table
	}
	for op, list := range map[string][]string{
		"dynamodb.GetItem":      {"dynamodb:GetItem A#S"}, // Settings, for callers without a token
		"dynamodb.BatchGetItem": {"dynamodb:BatchGetItem A#S", "dynamodb:BatchGetItem A#T", "dynamodb:BatchGetItem A#U"},
		"dynamodb.UpdateItem":   {"dynamodb:UpdateItem A#U"}, // the day of use
	} {
		table[op] = needs(append(slices.Clone(table[op].needs), list...)...)
	}
	for _, op := range []string{"dynamodb.PutItem", "dynamodb.DeleteItem"} {
		if _, known := table[op]; !known {
			table[op] = never("Metadata.Update is one function for all writes; access updates the day of use")
		}
	}
	return table
}

// directUses continues uses for direct uploads and the sweep.
func directUses(f route.Family) map[string]use {
	const writes = "Names.Update is one function for all writes"
	switch f {
	case route.FamilyDirect:
		return map[string]use{
			"dynamodb.GetItem":      needs("dynamodb:GetItem B#*", "dynamodb:GetItem K#*"), // checkRepeated; findDirect
			"dynamodb.BatchGetItem": never("Names.Get is one function for one key and many; this family asks for one"),
			"dynamodb.Query":        needs("dynamodb:Query B#*"),                                 // linkOffered, relink
			"dynamodb.PutItem":      needs("dynamodb:PutItem K#*"),                               // CancelDirect, spoil
			"dynamodb.UpdateItem":   needs("dynamodb:UpdateItem B#*", "dynamodb:UpdateItem K#*"), // touch; awaitVerification, renewDirect
			"dynamodb.DeleteItem":   never(writes + "; this family deletes no row"),
			"dynamodb.TransactWriteItems": needs( // openDirect, mountLink, commit, adopt; heal, relink
				"dynamodb:PutItem B#*", "dynamodb:PutItem K#*", "dynamodb:PutItem Q#*", "dynamodb:ConditionCheckItem B#*",
				"dynamodb:UpdateItem B#*", "dynamodb:UpdateItem K#*"),
			// Clients make the presigned requests; S3 checks them against this policy.
			"s3.PresignPutObject":        needs("s3:PutObject blobs/*", "kms:GenerateDataKey key"),
			"s3.PresignUploadPart":       needs("s3:PutObject blobs/*", "kms:GenerateDataKey key", "kms:Decrypt key"),
			"s3.CreateMultipartUpload":   needs("s3:PutObject blobs/*", "kms:GenerateDataKey key"),
			"s3.CompleteMultipartUpload": needs("s3:PutObject blobs/*", "kms:Decrypt key"),
			"s3.ListParts":               needs("s3:ListMultipartUploadParts blobs/*"),
			"s3.HeadObject":              needs("s3:GetObject blobs/*", "s3:ListBucket bucket", "kms:Decrypt key"), // lookAt: the checksum; sound
			"s3.DeleteObject":            needs("s3:DeleteObject blobs/*"),                                         // duplicates, spoil, CancelDirect
			"s3.AbortMultipartUpload":    needs("s3:AbortMultipartUpload blobs/*"),
		}
	case route.FamilyVerifications:
		return map[string]use{
			"dynamodb.GetItem":      needs("dynamodb:GetItem B#*"), // checkRepeated
			"dynamodb.BatchGetItem": never("Names.Get is one function for one key and many; this family asks for one"),
			"dynamodb.Query":        needs("dynamodb:Query B#*"),                                 // relink
			"dynamodb.UpdateItem":   needs("dynamodb:UpdateItem B#*", "dynamodb:UpdateItem K#*"), // touch; claimVerification, recordVerification
			"dynamodb.PutItem":      needs("dynamodb:PutItem K#*"),                               // spoil
			"dynamodb.DeleteItem":   never(writes + "; this family deletes no row"),
			"dynamodb.TransactWriteItems": needs( // commit, adopt; heal, relink
				"dynamodb:PutItem B#*", "dynamodb:PutItem K#*", "dynamodb:PutItem Q#*",
				"dynamodb:UpdateItem B#*", "dynamodb:UpdateItem K#*", "dynamodb:ConditionCheckItem B#*"),
			"s3.HeadObject":   needs("s3:GetObject blobs/*", "s3:ListBucket bucket", "kms:Decrypt key"), // sound
			"s3.GetObject":    needs("s3:GetObject blobs/*", "s3:ListBucket bucket", "kms:Decrypt key"), // readBack
			"s3.DeleteObject": needs("s3:DeleteObject blobs/*"),                                         // duplicates, spoil
		}
	case route.FamilyAccess:
		return map[string]use{
			"dynamodb.Query": needs("dynamodb:Query A#L", "dynamodb:Query A#T", "dynamodb:Query A#U"), // Log; Tokens
			"dynamodb.TransactWriteItems": needs("dynamodb:PutItem A#T", "dynamodb:PutItem A#S", "dynamodb:PutItem A#P", // tokens, rules, used proofs
				"dynamodb:DeleteItem A#T", // Revoke
				"dynamodb:PutItem A#L"),   // each change
		}
	case sweeper:
		return map[string]use{
			"dynamodb.Query":        needs("dynamodb:Query Q#*", "dynamodb:Query M#*", "dynamodb:Query B#*", "dynamodb:Query E#*"), // look, reviewBlob, dropEdges
			"dynamodb.GetItem":      needs("dynamodb:GetItem K#*", "dynamodb:GetItem B#*", "dynamodb:GetItem N"),                   // expire; condemnLinks; repository
			"dynamodb.BatchGetItem": needs("dynamodb:BatchGetItem B#*"),                                                            // condemnLinks
			"dynamodb.PutItem":      needs("dynamodb:PutItem K#*"),                                                                 // endSession
			"dynamodb.UpdateItem":   needs("dynamodb:UpdateItem B#*", "dynamodb:UpdateItem N"),                                     // condemn, restore; keepRepository
			"dynamodb.DeleteItem":   needs("dynamodb:DeleteItem Q#*", "dynamodb:DeleteItem M#*"),                                   // pendingUntil
			"dynamodb.TransactWriteItems": needs(
				"dynamodb:DeleteItem Q#*", "dynamodb:PutItem Q#*", // settleReviews, an upload that was continued
				"dynamodb:DeleteItem B#*", "dynamodb:PutItem K#*", // deleteLinks, deleteBlob
				"dynamodb:DeleteItem E#*", "dynamodb:ConditionCheckItem M#*", // dropEdges
				"dynamodb:UpdateItem N", "dynamodb:DeleteItem N"), // markIdle, reviewRepository
			"s3.DeleteObject":         needs("s3:DeleteObject blobs/*", "s3:DeleteObject tails/*"),
			"s3.AbortMultipartUpload": needs("s3:AbortMultipartUpload blobs/*"),
		}
	}
	return nil
}

// TestTemplatePoliciesEqualBinaries: the operations in each binary are those of the
// table, and the template grants the permissions that they need and no others.
func TestTemplatePoliciesEqualBinaries(t *testing.T) {
	root := loadTemplate(t)
	reach := reachable(t)
	for _, f := range functions() {
		t.Run(string(f), func(t *testing.T) {
			table := withCaller(f, uses(f))
			wanted := map[string]bool{}
			for op, u := range table {
				if !slices.Contains(reach[f], op) {
					t.Errorf("%s is in the table, but the binary cannot reach it", op)
				}
				if (len(u.needs) == 0) == (u.why == "") {
					t.Errorf("%s needs permissions, or a reason", op)
				}
				for _, n := range u.needs {
					wanted[n] = true
				}
				if op == "dynamodb.TransactWriteItems" {
					maps.Copy(wanted, everyItemOf(u.needs))
				}
			}
			for _, op := range reach[f] {
				_, known := table[op]
				if _, sdk := everywhere()[op]; !known && !sdk {
					t.Errorf("the binary reaches %s, which is not in the table", op)
				}
			}
			granted := grants(t, root, f)
			for _, n := range slices.Sorted(maps.Keys(wanted)) {
				if !granted[n] {
					t.Errorf("the template does not grant %s", n)
				}
			}
			for _, n := range slices.Sorted(maps.Keys(granted)) {
				if !wanted[n] {
					t.Errorf("the template grants %s, which no operation needs", n)
				}
			}
		})
	}
}

// TestTemplateFunctionsFindCallers: every function of the API has the shared policy, and no other
// function has. Only the access function may write tokens, rules and the log, and read the log.
func TestTemplateFunctionsFindCallers(t *testing.T) {
	root := loadTemplate(t)
	for _, f := range functions() {
		shared := strings.Count(fmt.Sprint(root.Map("Resources", logical(f)+"Function", "Properties").List("Policies")...), callerPolicy)
		if want := map[bool]int{true: 0, false: 1}[f == sweeper]; shared != want {
			t.Errorf("%s has the shared policy %d times, want %d", f, shared, want)
		}
		for permission := range grants(t, root, f) {
			action, partition, _ := strings.Cut(permission, " ")
			read := action == "dynamodb:GetItem" || action == "dynamodb:BatchGetItem"
			if strings.HasPrefix(partition, "A#") && f != route.FamilyAccess && !read && permission != "dynamodb:UpdateItem A#U" {
				t.Errorf("%s is granted %s", f, permission)
			}
		}
	}
}

// TestTemplateTransactionsHaveOneStatement: if dynamodb:LeadingKeys holds the keys of
// the whole transaction, one statement has to allow all of them.
func TestTemplateTransactionsHaveOneStatement(t *testing.T) {
	root := loadTemplate(t)
	for _, f := range functions() {
		transaction := everyItemOf(uses(f)["dynamodb.TransactWriteItems"].needs)
		if !slices.ContainsFunc(statements(t, root, f), func(granted map[string]bool) bool {
			for permission := range transaction {
				if !granted[permission] {
					return false
				}
			}
			return true
		}) {
			t.Errorf("no statement of %s allows all of its transactions' actions on all of their partitions", f)
		}
	}
}

// everyItemOf returns each action of a transaction's items on each of their partitions.
// AWS does not document whether dynamodb:LeadingKeys holds the key of the item or those
// of the whole transaction, so policies allow both readings.
func everyItemOf(needs []string) map[string]bool {
	actions, partitions := map[string]bool{}, map[string]bool{}
	for _, n := range needs {
		action, partition, _ := strings.Cut(n, " ")
		actions[action], partitions[partition] = true, true
	}
	all := map[string]bool{}
	for action := range actions {
		for partition := range partitions {
			all[action+" "+partition] = true
		}
	}
	return all
}

// reachable lists the SDK operations in each function's binary, which are those that
// the linker could not eliminate.
func reachable(t *testing.T) map[route.Family][]string {
	t.Helper()
	operation := regexp.MustCompile(`aws-sdk-go-v2/service/(\w+)\.\(\*(?:Client|PresignClient)\)\.([A-Z]\w+)$`)
	ops := map[route.Family][]string{}
	for f, b := range binaries(t) {
		for _, name := range b.funcs {
			if found := operation.FindStringSubmatch(name); found != nil && found[2] != "Options" {
				ops[f] = append(ops[f], found[1]+"."+found[2])
			}
		}
		if len(ops[f]) == 0 {
			t.Fatalf("no SDK operation in %s", f)
		}
	}
	return ops
}

// grants reads the policy of a function as a set of "<IAM action> <scope>".
func grants(t *testing.T, root template.Tree, f route.Family) map[string]bool {
	t.Helper()
	granted := map[string]bool{}
	for _, statement := range statements(t, root, f) {
		maps.Copy(granted, statement)
	}
	return granted
}

// callerPolicy is the logical ID of the managed policy that the functions of the API share.
const callerPolicy = "CallerPolicy"

// statements reads the policy of a function, each statement as "<IAM action> <scope>".
// It rejects forms of statements that it does not know, as they could grant anything.
func statements(t *testing.T, root template.Tree, f route.Family) []map[string]bool {
	t.Helper()
	var all []map[string]bool
	properties := root.Map("Resources", logical(f)+"Function", "Properties")
	if _, own := properties["Role"]; own {
		t.Fatal("this test does not read roles")
	}
	for _, p := range properties.List("Policies") {
		policy, inline := p.(template.Tree)
		if id := policy.Text("Ref"); id == callerPolicy {
			policy = root.Map("Resources", id, "Properties", "PolicyDocument")
		}
		if !inline || policy.Text("Version") != "2012-10-17" || len(policy) != 2 {
			t.Fatalf("not an inline policy: %v", p)
		}
		for _, s := range policy.List("Statement") {
			statement, ok := s.(template.Tree)
			if branches := statement.List("Fn::If"); len(branches) == 3 && branches[0] == "HasKey" &&
				fmt.Sprint(branches[2]) == "map[Ref:AWS::NoValue]" {
				statement, ok = branches[1].(template.Tree)
			}
			if !ok || statement.Text("Effect") != "Allow" {
				t.Fatalf("not understood: %v", s)
			}
			granted := map[string]bool{}
			for _, scope := range scopes(t, statement) {
				for _, action := range statement.Texts("Action") {
					if strings.Contains(action, "*") {
						t.Errorf("%s is not one action", action)
					}
					granted[action+" "+scope] = true
				}
			}
			all = append(all, granted)
		}
	}
	return all
}

// scopes lists the partitions, the prefixes of object keys, the bucket or the KMS key
// that a statement is limited to.
func scopes(t *testing.T, s template.Tree) []string {
	t.Helper()
	condition := fmt.Sprint(s.Map("Condition"))
	var list []string
	for _, r := range s.List("Resource") {
		resource, _ := r.(template.Tree)
		object, isObject := strings.CutPrefix(resource.Text("Fn::Sub"), "${Bucket.Arn}/")
		keys := s.Map("Condition", "ForAllValues:StringLike")
		switch {
		case isObject && object != "*" && len(s) == 3:
			list = append(list, object)
		case resource.Text("Fn::GetAtt") == "Bucket.Arn" && len(s) == 3:
			list = append(list, "bucket")
		case resource.Text("Ref") == "KmsKeyArn" && condition == "map[StringEquals:map[kms:ViaService:map[Fn::Sub:s3.${AWS::Region}.amazonaws.com]]]":
			list = append(list, "key")
		case resource.Text("Fn::GetAtt") == "Table.Arn" && len(s.Map("Condition")) == 1 && len(keys) == 1 && len(keys.List("dynamodb:LeadingKeys")) > 0:
			list = append(list, keys.Texts("dynamodb:LeadingKeys")...)
		default:
			t.Fatalf("a resource without bounds, or not understood: %v", s)
		}
	}
	return list
}
