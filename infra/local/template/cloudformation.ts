/** CloudFormation's response about a stack. */
interface StackAnswer {
  readonly status: number;
  readonly body: string;
}

/** Emulates CloudFormation for one stack and its outputs. */
export interface LocalCloudFormation {
  answer(form: URLSearchParams): StackAnswer;
}

/** Answers DescribeStacks in AWS's query protocol, and refuses all other actions. */
export function localCloudFormation(
  stackName: string,
  outputs: Readonly<Record<string, string>>,
): LocalCloudFormation {
  return {
    answer(form) {
      const action = form.get('Action') ?? '';
      if (action !== 'DescribeStacks')
        return error('InvalidAction', `${action} is not supported by the local engine`);
      const asked = form.get('StackName') ?? stackName;
      if (asked !== stackName) {
        return error('ValidationError', `Stack with id ${asked} does not exist`);
      }
      const members = Object.entries(outputs).map(
        ([key, value]) =>
          `<member><OutputKey>${escaped(key)}</OutputKey><OutputValue>${escaped(value)}</OutputValue></member>`,
      );
      return {
        status: 200,
        body: `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member><StackName>${escaped(stackName)}</StackName><StackStatus>CREATE_COMPLETE</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime><Outputs>${members.join('')}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`,
      };
    },
  };
}

function error(code: string, message: string): StackAnswer {
  return {
    status: 400,
    body: `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>${escaped(message)}</Message></Error></ErrorResponse>`,
  };
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
