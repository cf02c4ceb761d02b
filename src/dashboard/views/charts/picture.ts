import { save } from '../save.ts';
import type { Layer, Scene } from './plot.tsx';

interface PictureKey {
  readonly colour: string;
  /** The dashes of a line. */
  readonly dash?: string;
  readonly opacity?: number;
  readonly text: string;
}

export interface Picture {
  readonly title: string;
  readonly note: string;
  readonly keys: readonly PictureKey[];
  readonly scene: Scene;
}

const font = '12px system-ui, sans-serif';
const margin = 20;
const headHeight = 60;
const lineHeight = 20;
/** Pixels of the picture per pixel of the page. */
const scale = 2;

/** Saves a chart with its title and its legend as a PNG file. */
export async function savePicture(name: string, picture: Picture): Promise<void> {
  const canvas = document.createElement('canvas');
  const { width, height } = picture.scene.frame;
  const context = canvas.getContext('2d');
  if (context === null) return;
  context.font = font;
  const places = placesOf(context, picture.keys, width);
  canvas.width = (width + 2 * margin) * scale;
  const lines = (places.at(-1)?.line ?? -1) + 1;
  canvas.height = (headHeight + height + lines * lineHeight + 2 * margin) * scale;
  context.scale(scale, scale);
  paint(context, picture, places);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, 'image/png'));
  if (blob !== null) save(name, blob);
}

interface Place {
  readonly x: number;
  readonly line: number;
}

/** Lays the legend out in lines. */
function placesOf(
  context: CanvasRenderingContext2D,
  keys: readonly PictureKey[],
  width: number,
): Place[] {
  let [x, line] = [0, 0];
  return keys.map(({ text }) => {
    const length = context.measureText(text).width + 34;
    if (x > 0 && x + length > width) [x, line] = [0, line + 1];
    const place = { x, line };
    x += length;
    return place;
  });
}

function paint(
  context: CanvasRenderingContext2D,
  { title, note, keys, scene }: Picture,
  places: readonly Place[],
): void {
  const text = resolved('var(--ink)');
  context.fillStyle = resolved('var(--surface)');
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  context.translate(margin, margin);
  context.fillStyle = text;
  context.font = '600 16px system-ui, sans-serif';
  context.fillText(title, 0, 14);
  context.font = font;
  context.fillStyle = resolved('var(--muted)');
  context.fillText(note, 0, 34, scene.frame.width);
  context.translate(0, headHeight - 10);
  paintScene(context, scene);
  context.translate(0, scene.frame.height + 10);
  keys.forEach(({ colour, dash, opacity = 1, text: name }, index) => {
    const { x = 0, line = 0 } = places[index] ?? {};
    const y = line * lineHeight + 2;
    const shape = dash === undefined ? `M${x} ${y}h10v10h-10z` : `M${x - 3} ${y + 5}h16`;
    const drawn = dash === undefined ? { fill: colour } : { stroke: colour, dash };
    paintLayer(context, { d: shape, opacity, ...drawn });
    context.fillStyle = text;
    context.textAlign = 'start';
    context.fillText(name, x + 16, line * lineHeight + 11);
  });
}

function paintScene(context: CanvasRenderingContext2D, { layers, labels }: Scene): void {
  for (const layer of layers) paintLayer(context, layer);
  context.fillStyle = resolved('var(--muted)');
  for (const { x, y, text, anchor } of labels) {
    context.textAlign = anchor === 'middle' ? 'center' : anchor;
    context.fillText(text, x, y);
  }
}

function paintLayer(
  context: CanvasRenderingContext2D,
  { d, fill, stroke, dash, opacity = 1 }: Layer,
): void {
  const path = new Path2D(d);
  context.globalAlpha = opacity;
  if (fill !== undefined) {
    context.fillStyle = resolved(fill);
    context.fill(path);
  }
  if (stroke !== undefined) {
    context.strokeStyle = resolved(stroke);
    context.lineWidth = 2;
    context.setLineDash((dash ?? '').split(' ').filter(Boolean).map(Number));
    context.stroke(path);
  }
  context.globalAlpha = 1;
}

/** The current value of a CSS colour: a canvas does not support variables. */
function resolved(colour: string): string {
  const probe = document.body.appendChild(document.createElement('i'));
  probe.style.color = colour;
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
