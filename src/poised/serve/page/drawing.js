// People as lines and discs, which a canvas or an SVG shows: the same as draw.py, in picture pixels.

export const SIDES = { left: "#009eff", right: "#ff8c00", middle: "#f0f0f0" };
const PEOPLE = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"];
const OUTLINE = "#141414";

/** Whose side, the person's own, a keypoint is on. */
export function side({ pairs }, joint) {
  if (pairs.some(([left]) => left === joint)) return "left";
  return pairs.some(([, right]) => right === joint) ? "right" : "middle";
}

/** Which of a person's joints are shown: sure enough, and not switched off. */
export function shownJoints(person, skeleton, shown) {
  const { threshold, hiddenJoints } = shown;
  return person.keypoints.map(([, , score], joint) => {
    return score > threshold && !hiddenJoints.has(skeleton.keypoints[joint]);
  });
}

/** The people of a picture that are drawn: [{person, index, joints}], large ones first. */
export function shownPeople(image, skeleton, shown, hidden) {
  const people = image.people.map((person, index) => {
    return { person, index, joints: shownJoints(person, skeleton, shown) };
  });
  const area = ({ person }) => person.bbox[2] * person.bbox[3];
  const limbed = ({ joints }) => {
    return !skeleton.limbs.length || skeleton.limbs.some(([a, b]) => joints[a] && joints[b]);
  };
  return people
    .filter((one) => !hidden(one.index) && limbed(one)) // dots alone say nothing
    .sort((a, b) => area(b) - area(a));
}

/**
 * What is drawn of a picture: lines {a, b, width, colour}, discs {at, radius, colour, title},
 * boxes {box, width, colour} and numbers {at, size, text, colour}, in order.
 */
export function shapes(image, skeleton, shown, hidden) {
  const least = Math.max(1, Math.min(image.width, image.height) / 400);
  const people = shownPeople(image, skeleton, shown, hidden);
  const byPerson = shown.colours === "people";
  const drawn = people.flatMap((one) => {
    const own = byPerson ? PEOPLE[one.index % PEOPLE.length] : null;
    return ofPerson(one, skeleton, least, own);
  });
  if (!byPerson) return drawn;
  return [...drawn, ...people.flatMap((one) => boxOf(one, least))];
}

function ofPerson({ person, index, joints }, skeleton, least, own) {
  const width = Math.max(least, Math.max(person.bbox[2], person.bbox[3]) / 80);
  const found = [];
  const drawn = (joint) => joints[joint];
  for (const [grow, outline] of [[1.8, OUTLINE], [1, null]]) {
    for (const [a, b] of skeleton.limbs.filter((limb) => limb.every(drawn))) {
      const colour = outline ?? own ?? SIDES[limbSide(skeleton, a, b)];
      const ends = { a: person.keypoints[a], b: person.keypoints[b] };
      found.push({ kind: "line", ...ends, width: width * grow, colour });
    }
    person.keypoints.forEach((at, joint) => {
      if (!joints[joint]) return;
      const colour = outline ?? own ?? SIDES[side(skeleton, joint)];
      const title = outline ? null : jointText(skeleton, person, index, joint);
      found.push({ kind: "disc", at, radius: width * 1.3 * grow, colour, title });
    });
  }
  return found;
}

function boxOf({ person, index }, least) {
  const colour = PEOPLE[index % PEOPLE.length];
  const [x, y] = person.bbox;
  const size = 12 * least;
  const text = { kind: "number", at: [x, y], size, text: `${index + 1}`, colour };
  return [{ kind: "box", box: person.bbox, width: least, colour }, text];
}

/** A limb is on a side when no end is on the other and not both are in the middle. */
function limbSide(skeleton, a, b) {
  const sides = new Set([side(skeleton, a), side(skeleton, b)]);
  sides.delete("middle");
  return sides.size === 1 ? [...sides][0] : "middle";
}

/** A joint in words. */
export function jointText(skeleton, person, index, joint) {
  const name = skeleton.keypoints[joint].replaceAll("_", " ");
  return `${name}, ${person.keypoints[joint][2].toFixed(2)}, person ${index + 1}`;
}

/** Draw shapes on a canvas whose units are picture pixels, a pixel's centre at its middle. */
export function paint(context, drawn) {
  context.save();
  context.translate(0.5, 0.5);
  context.lineCap = "round";
  for (const one of drawn) {
    context.fillStyle = context.strokeStyle = one.colour;
    context.lineWidth = one.width ?? 1;
    context.beginPath();
    if (one.kind === "line") {
      context.moveTo(one.a[0], one.a[1]);
      context.lineTo(one.b[0], one.b[1]);
      context.stroke();
    } else if (one.kind === "disc") {
      context.arc(one.at[0], one.at[1], one.radius, 0, 2 * Math.PI);
      context.fill();
    } else if (one.kind === "box") {
      context.strokeRect(...one.box);
    } else {
      paintNumber(context, one);
    }
  }
  context.restore();
}

function paintNumber(context, { at: [x, y], size, text }) {
  context.font = `${size}px sans-serif`;
  context.textBaseline = "top";
  context.fillRect(x, y, context.measureText(text).width + 0.6 * size, 1.3 * size);
  context.fillStyle = OUTLINE;
  context.fillText(text, x + 0.3 * size, y + 0.2 * size);
}

/** The shapes as an SVG over a picture, which is an address, in most cases a data: one. */
export function svg(image, drawn, address) {
  const { width, height } = image;
  const parts = drawn.map(svgShape).join("\n");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" \
width="${width}" height="${height}">
<image href="${address}" width="${width}" height="${height}"/>
<g transform="translate(0.5 0.5)" stroke-linecap="round" font-family="sans-serif">
${parts}
</g>
</svg>
`;
}

function svgShape(one) {
  const { colour } = one;
  if (one.kind === "line") {
    const [x1, y1, x2, y2] = [...one.a.slice(0, 2), ...one.b.slice(0, 2)].map(short);
    const ends = `x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"`;
    return `<line ${ends} stroke="${colour}" stroke-width="${short(one.width)}"/>`;
  }
  if (one.kind === "disc") {
    const title = one.title ? `<title>${escaped(one.title)}</title>` : "";
    const [cx, cy, r] = [one.at[0], one.at[1], one.radius].map(short);
    return `<circle cx="${cx}" cy="${cy}" r="${r}" fill="${colour}">${title}</circle>`;
  }
  if (one.kind === "box") {
    const [x, y, width, height] = one.box.map(short);
    const place = `x="${x}" y="${y}" width="${width}" height="${height}"`;
    return `<rect ${place} fill="none" stroke="${colour}" stroke-width="${short(one.width)}"/>`;
  }
  const [x, y, size] = [one.at[0], one.at[1], one.size].map(short);
  const place = `x="${x}" y="${y}" dx="0.3em" dy="1em" font-size="${size}"`;
  return `<text ${place} fill="${colour}">${one.text}</text>`;
}

const short = (value) => Number(value.toFixed(2));

const escaped = (text) => {
  return text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
};
