// A camera or a clip: frames, one after the other, as fast as poses are found.

const PAUSE = 100; // milliseconds between looks at a clip that stands still
const LATEST = 1000; // milliseconds until the first frame, where no browser tells

/** Show the camera in a video element; throws an Error that can be shown. */
export async function openCamera(video) {
  if (!navigator.mediaDevices) {
    throw new Error("the camera: browsers allow it on https:// and on localhost alone");
  }
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    const why = error.name === "NotAllowedError" ? "allow it for this page" : "is one attached?";
    throw new Error(`the camera cannot be used: ${why}`);
  }
  video.hidden = true; // each frame is on show, with its people
  await video.play();
}

/** Show a clip's file in a video element; throws an Error that can be shown. */
export async function openClip(video, file) {
  video.src = URL.createObjectURL(file);
  video.hidden = false;
  await new Promise((resolve, reject) => {
    const unread = "this browser cannot play it; `poised predict` reads more kinds";
    video.onloadeddata = resolve;
    video.onerror = () => reject(new Error(`${file.name}: ${unread}`));
  });
  await video.play();
}

/** Let go of the camera, or of the clip. */
export function close(video) {
  video.pause();
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
}

/** Wait until a frame can be drawn, which is a little later than it is said to have arrived. */
function first(video) {
  const shown = new Promise((resolve) => video.requestVideoFrameCallback?.(resolve));
  const late = new Promise((resolve) => setTimeout(resolve, LATEST));
  return Promise.race([shown, late]);
}

/**
 * Give each frame, {blob, bitmap, seconds}, to `take`, one after the other, while `going()`.
 * A clip that stands still is looked at once.
 */
export async function eachFrame(video, going, take) {
  let last = -1;
  await first(video);
  while (going()) {
    const seconds = video.currentTime;
    if (seconds === last || video.readyState < video.HAVE_CURRENT_DATA) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      continue;
    }
    last = seconds;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
    await take({ blob, bitmap: canvas.transferToImageBitmap(), seconds });
  }
}
