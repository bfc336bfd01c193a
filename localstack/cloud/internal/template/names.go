package template

import "fmt"

// Resource types that the local cloud evaluates.
const (
	typeFunction   = "AWS::Serverless::Function"
	typeAPI        = "AWS::ApiGatewayV2::Api"
	typeStage      = "AWS::ApiGatewayV2::Stage"
	typePermission = "AWS::Lambda::Permission"
	typeBucket     = "AWS::S3::Bucket"
	typeTable      = "AWS::DynamoDB::Table"
	typeLogGroup   = "AWS::Logs::LogGroup"
	typeKey        = "AWS::KMS::Key"
	typeRule       = "AWS::Events::Rule"
	typePolicy     = "AWS::IAM::ManagedPolicy"
)

func (e *evaluator) typeOf(id string) string {
	resource, _ := e.resources[id].(map[string]any)
	text, _ := resource["Type"].(string)
	return text
}

// physical returns the value of Ref for a resource: the name in Options, a function's
// FunctionName, or the logical ID.
func (e *evaluator) physical(path, id string) (string, error) {
	if name, ok := e.names[id]; ok {
		return name, nil
	}
	if e.typeOf(id) != typeFunction {
		return id, nil
	}
	resource, _ := e.resources[id].(map[string]any)
	properties, _ := resource["Properties"].(map[string]any)
	if properties["FunctionName"] == nil {
		return id, nil
	}
	value, err := e.eval(path, properties["FunctionName"])
	if err != nil {
		return "", err
	}
	if _, none := value.(noValue); none {
		return id, nil
	}
	return fmt.Sprint(value), nil
}

func (e *evaluator) getAtt(path string, argument any) (any, error) {
	list, _ := argument.([]any)
	if len(list) != 2 {
		return nil, errorAt(path, "Fn::GetAtt needs a resource and an attribute")
	}
	id, attribute := fmt.Sprint(list[0]), fmt.Sprint(list[1])
	if _, ok := e.resources[id]; !ok {
		return nil, errorAt(path, "Fn::GetAtt %s.%s: there is no such resource", id, attribute)
	}
	name, err := e.physical(path, id)
	if err != nil {
		return nil, err
	}
	kind := e.typeOf(id)
	if attribute == "Arn" {
		if arn := e.arn(kind, name); arn != "" {
			return arn, nil
		}
	}
	switch {
	case kind == typeTable && attribute == "StreamArn":
		return e.arn(kind, name) + "/stream/local", nil
	case kind == typeAPI && attribute == "ApiEndpoint":
		return "https://" + name + ".execute-api." + e.pseudo["AWS::Region"] + "." + e.pseudo["AWS::URLSuffix"], nil
	case kind == typeAPI && attribute == "ApiId":
		return name, nil
	}
	return nil, errorAt(path, "Fn::GetAtt %s.%s: the local cloud does not know %s of %s", id, attribute, attribute, kind)
}

func (e *evaluator) arn(kind, name string) string {
	service := func(s, rest string) string {
		return "arn:" + e.pseudo["AWS::Partition"] + ":" + s + ":" + e.pseudo["AWS::Region"] + ":" + e.pseudo["AWS::AccountId"] + ":" + rest
	}
	switch kind {
	case typeBucket:
		return "arn:" + e.pseudo["AWS::Partition"] + ":s3:::" + name
	case typeTable:
		return service("dynamodb", "table/"+name)
	case typeFunction:
		return service("lambda", "function:"+name)
	case typeLogGroup:
		return service("logs", "log-group:"+name+":*")
	case typeRule:
		return service("events", "rule/"+name)
	case typeKey:
		return service("kms", "key/"+name)
	}
	return ""
}
