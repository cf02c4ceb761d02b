export { DevicePipeline } from './device-pipeline.ts';
export type { AlarmName, DevicePipelineProps, PipelineDomain } from './props.ts';
