// Hands onto a canvas: bones, joints, and an ellipse of one standard deviation around each point.

const RIM = "rgba(18, 20, 24, 0.85)";

/** Draw hands, whose points are in image pixels, on a canvas that shows the image `scale` times as large. */
export function drawHands(context, hands, about, scale) {
  for (const hand of hands) {
    const points = hand.xy.map(([x, y]) => (x === null ? null : [(x + 0.5) * scale, (y + 0.5) * scale]));
    const width = lineWidth(points);
    drawEllipses(context, hand, points, about, scale);
    drawBones(context, points, about, width);
    drawJoints(context, points, about, width);
  }
}

function lineWidth(points) {
  const known = points.filter(Boolean);
  if (!known.length) return 2;
  const spread = (axis) => Math.max(...known.map((p) => p[axis])) - Math.min(...known.map((p) => p[axis]));
  return Math.min(8, Math.max(2, Math.max(spread(0), spread(1)) / 80));
}

function drawEllipses(context, hand, points, about, scale) {
  if (!hand.covariance) return;
  points.forEach((point, joint) => {
    const axes = point && ellipse(hand.covariance[joint]);
    if (!axes) return;
    context.beginPath();
    context.ellipse(...point, axes.major * scale, axes.minor * scale, axes.angle, 0, 2 * Math.PI);
    context.fillStyle = about.colors[joint] + "59";
    context.fill();
    context.lineWidth = 1;
    context.strokeStyle = about.colors[joint];
    context.stroke();
  });
}

/** Half axes and angle of the ellipse of one standard deviation; null where nothing is stated. */
export function ellipse([xx, xy, yy]) {
  if (xx === null || xy === null || yy === null) return null;
  const middle = (xx + yy) / 2;
  const reach = Math.hypot((xx - yy) / 2, xy);
  const angle = 0.5 * Math.atan2(2 * xy, xx - yy);
  return { major: Math.sqrt(Math.max(middle + reach, 0)), minor: Math.sqrt(Math.max(middle - reach, 0)), angle };
}

function drawBones(context, points, about, width) {
  context.lineCap = "round";
  const lines = about.bones.filter(([parent, child]) => points[parent] && points[child]);
  for (const [extra, color] of [[2.5, () => RIM], [0, (child) => about.colors[child]]]) {
    for (const [parent, child] of lines) {
      context.beginPath();
      context.moveTo(...points[parent]);
      context.lineTo(...points[child]);
      context.lineWidth = width + extra;
      context.strokeStyle = color(child);
      context.stroke();
    }
  }
}

function drawJoints(context, points, about, width) {
  points.forEach((point, joint) => {
    if (!point) return;
    context.beginPath();
    context.arc(...point, width * 0.85 + 1, 0, 2 * Math.PI);
    context.fillStyle = about.colors[joint];
    context.fill();
    context.lineWidth = 1.2;
    context.strokeStyle = RIM;
    context.stroke();
  });
}

/** A square in the middle of the picture, where a model without a detector looks. */
export function drawGuide(context, side) {
  const { width, height } = context.canvas;
  context.strokeStyle = "rgba(255, 255, 255, 0.75)";
  context.lineWidth = 2;
  context.setLineDash([8, 6]);
  context.strokeRect((width - side) / 2 + 1, (height - side) / 2 + 1, side - 2, side - 2);
  context.setLineDash([]);
}
